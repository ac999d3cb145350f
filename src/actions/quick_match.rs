//! Quick match: a seat in the fullest open room with a free one, or in a new room.

use std::sync::Arc;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, Caller};
use crate::config::QuickMatch;
use crate::id::{CommandKey, RoomCode};
use crate::wire::{JoinRequest, Joined, OpenRoomRequest, QuickMatchRequest, Reason, Refusal};

/// Rooms that are tried before a new one is opened: each failure is a lost race for the last seat.
const ROOMS_TRIED_MAX: usize = 8;

impl Actions {
    /// Claims a seat in the fullest open room that has one, else in a new room.
    pub async fn quick_match(
        &self,
        caller: Caller,
        request: QuickMatchRequest,
        key: Option<CommandKey>,
    ) -> Result<Joined, Refusal> {
        let keyed = IdempotentRequest::new(&caller, key, "match.quick", &request)?;
        self.once(keyed, async |keyed| {
            self.count_change(caller.session())?;
            self.match_quickly(caller, request, keyed).await
        })
        .await
    }

    async fn match_quickly(
        &self,
        caller: Caller,
        request: QuickMatchRequest,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Joined, Refusal> {
        self.check_open()?;
        let kind = Arc::clone(self.rooms.kinds().for_room(request.kind.as_deref())?);
        kind.wanted(None, request.team.as_deref())?;
        if kind.config.quick_match == QuickMatch::Off {
            let detail = format!("kind {} does not allow quick match", kind.name);
            return Err(Refusal::new(Reason::PermissionDenied, detail));
        }
        let mut tried: Vec<RoomCode> = Vec::new();
        while tried.len() < ROOMS_TRIED_MAX {
            let name = Arc::clone(&kind.name);
            let found = self
                .matchmaker
                .fullest(name, request.team.clone(), tried.clone())
                .await
                .map_err(|_| Refusal::unavailable())?;
            let Some(code) = found else {
                break;
            };
            let join = JoinRequest {
                team: request.team.clone(),
                ..JoinRequest::default()
            };
            match self.enter(caller.clone(), code, join, keyed.clone()).await {
                Err(lost) if is_lost_race(lost.reason) => tried.push(code),
                settled => return settled,
            }
        }
        let open = OpenRoomRequest {
            kind: request.kind,
            team: request.team,
            ..OpenRoomRequest::default()
        };
        self.open(caller, open, keyed).await
    }
}

/// Returns true if another player was faster, so that the next room may have a seat.
fn is_lost_race(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RoomFull | Reason::SeatTaken | Reason::RoomClosed | Reason::RoomNotFound
    )
}

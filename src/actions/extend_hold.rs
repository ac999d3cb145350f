//! Extending the hold of an away seat, which only the game's server may request.

use std::time::Duration;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, room_not_found, unanswered};
use crate::id::{ApiKeyHash, CommandKey, RoomCode};
use crate::room::RoomKey;
use crate::wire::{Refusal, SeatView};

impl Actions {
    /// Keeps an away seat for at least this long from now. The call is idempotent. A held seat has no running hold, and
    /// is not changed.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, SEAT_NOT_FOUND if the seat is empty, BAD_REQUEST, KEY_REUSED, UNAVAILABLE.
    pub async fn hold_seat(
        &self,
        api_key: ApiKeyHash,
        code: RoomCode,
        seat: u16,
        at_least: Duration,
        key: Option<CommandKey>,
    ) -> Result<SeatView, Refusal> {
        let content = (code.as_str(), seat, at_least.as_secs());
        let keyed = key.map(|key| IdempotentRequest::by_game(api_key, &key, "seat.hold", &content));
        self.once(keyed, async |keyed| {
            self.hold(code, seat, at_least, keyed).await
        })
        .await
    }

    async fn hold(
        &self,
        code: RoomCode,
        seat: u16,
        at_least: Duration,
        keyed: Option<IdempotentRequest>,
    ) -> Result<SeatView, Refusal> {
        self.check_open()?;
        check_hold("seconds", at_least, self.hold_max(), "session.ttl")?;
        let kept = self
            .rooms
            .ask(&RoomKey::Code(code), |room| {
                let key = keyed.clone().map(IdempotentRequest::into_key);
                async move { room.hold(seat, at_least, key).await }
            })
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)??;
        match kept.is_stored {
            true => Ok(kept.seat),
            // The hold did not change, so the room wrote nothing.
            false => self.keep(keyed, kept.seat).await,
        }
    }

    /// Returns the longest hold that may be requested: the life of a session, which no hold outlives.
    pub(super) fn hold_max(&self) -> Duration {
        self.sessions.ttl()
    }
}

/// Refuses a hold that is longer than allowed.
pub(super) fn check_hold(
    field: &str,
    asked: Duration,
    most: Duration,
    key: &str,
) -> Result<(), Refusal> {
    if asked <= most {
        return Ok(());
    }
    let (asked, most) = (asked.as_secs(), most.as_secs());
    Err(Refusal::bad_request(format!(
        "{field} may be at most {most} seconds ({key}), this one has {asked}"
    )))
}

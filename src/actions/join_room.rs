//! Joining an existing room, with a seat or as a spectator.
//!
//! A caller with a session claims the seat in that session. For a new player, one commit writes user, session and seat.

use super::idempotency::IdempotentRequest;
use super::player::{Actions, Caller, room_not_found, unanswered};
use crate::config::Permission;
use crate::id::{CommandKey, RoomCode};
use crate::mailbox::Unanswered;
use crate::persistence::{SessionWrite, UserWrite};
use crate::room::{AttachSeq, Claimant, HeldSeat, ResponseForm, RoomHandle, RoomKey};
use crate::session::SessionHandle;
use crate::wire::{JoinRequest, Joined, Reason, Refusal, RoomView, SessionView, UserView};

impl Actions {
    /// Claims a seat in a room, or only checks that the caller may spectate.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, ROOM_CLOSED, ROOM_FULL, SEAT_TAKEN, SEAT_NOT_FOUND, ALREADY_SEATED,
    /// INVALID_USER_REFERENCE, INSUFFICIENT_CREDITS, KEY_REUSED, RATE_LIMITED, UNAVAILABLE.
    pub async fn join_room(
        &self,
        caller: Caller,
        code: RoomCode,
        request: JoinRequest,
        key: Option<CommandKey>,
    ) -> Result<Joined, Refusal> {
        let content = (code.as_str(), &request);
        let keyed = IdempotentRequest::new(&caller, key, "room.join", &content)?;
        self.once(keyed, async |keyed| {
            self.count_change(caller.session())?;
            self.check_code(code, caller.session()).await?;
            self.enter(caller, code, request, keyed).await
        })
        .await
    }

    /// Joins as [`Actions::join_room`] does, with a code that is known to be a room's.
    pub(super) async fn enter(
        &self,
        caller: Caller,
        code: RoomCode,
        request: JoinRequest,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Joined, Refusal> {
        self.check_open()?;
        if request.spectate {
            return self.spectate(caller, code, keyed).await;
        }
        let entrant = self.fresh(self.seated_here(caller, code).await?);
        let room = self
            .rooms
            .find(&RoomKey::Code(code))
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)?;
        match entrant {
            Err(session) => {
                self.join_known(&session, (code, &room), request, keyed)
                    .await
            }
            Ok(fresh) => {
                self.count_newcomer()?;
                // A new player: user, session and seat are one commit.
                let claimant = Claimant {
                    session: fresh.id,
                    user: fresh.user.clone(),
                    user_write: fresh.user_write.clone(),
                    session_write: SessionWrite::New(fresh.row()),
                    epoch: AttachSeq(0),
                    is_attached: false,
                    notice: None,
                    response: None,
                };
                let session = fresh.view();
                let (entered, seat) = self.claim(&room, claimant, request, session, keyed).await?;
                let seed = fresh.seed(entered.user.clone(), vec![seat]);
                self.sessions.start(seed).await.map_err(unanswered)?;
                Ok(entered)
            }
        }
    }

    async fn join_known(
        &self,
        session: &SessionHandle,
        (code, room): (RoomCode, &RoomHandle),
        request: JoinRequest,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Joined, Refusal> {
        let ticket = self.ticket(session, Some(code)).await?;
        let claimant = Claimant {
            session: session.id(),
            user: session.user().clone(),
            user_write: UserWrite::Known(session.user().id.clone()),
            session_write: SessionWrite::Known(session.id()),
            epoch: ticket.epoch,
            is_attached: ticket.is_attached,
            notice: Some(ticket.notice),
            response: None,
        };
        let view = SessionView {
            id: session.id(),
            token: None,
            expires_at: ticket.expires_at,
        };
        let (entered, _) = self.claim(room, claimant, request, view, keyed).await?;
        Ok(entered)
    }

    /// Claims a seat. Returns the response, and the seat for its session.
    async fn claim(
        &self,
        room: &RoomHandle,
        mut claimant: Claimant,
        request: JoinRequest,
        session: SessionView,
        keyed: Option<IdempotentRequest>,
    ) -> Result<(Joined, HeldSeat), Refusal> {
        claimant.response = keyed
            .clone()
            .map(|keyed| keyed.draft(ResponseForm::Joined(session.clone())));
        let claimed = room
            .claim(claimant, request.seat, request.team)
            .await
            .map_err(|_: Unanswered| Refusal::unavailable())??;
        let entered = claimed.joined(session);
        let mut entered = match claimed.is_kept {
            true => entered,
            // The session sat there already, so nothing was written.
            false => self.keep(keyed, entered).await?,
        };
        self.sign(
            &entered.session,
            &entered.user,
            &mut entered.seat,
            &claimed.seat,
        );
        Ok((entered, claimed.seat))
    }

    async fn spectate(
        &self,
        caller: Caller,
        code: RoomCode,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Joined, Refusal> {
        let room = self.view(code).await?;
        let may_listen = self.rooms.kinds().get(&room.kind).is_some_and(|kind| {
            kind.config.spectators > 0 || kind.config.subscribe == Permission::Anyone
        });
        if !may_listen {
            let detail = format!("kind {} admits no spectators", room.kind);
            return Err(Refusal::new(Reason::PermissionDenied, detail));
        }
        match self.fresh(caller) {
            Ok(fresh) => {
                self.count_newcomer()?;
                let entered = listening(room, fresh.view(), fresh.user.clone());
                self.write_session(&fresh, entered, keyed).await
            }
            Err(session) => {
                let report = self.session(&session).await?;
                let entered = listening(room, report.session, report.user);
                self.keep(keyed, entered).await
            }
        }
    }

    /// Replaces a caller who sits in the room already, in a live session, by that session. A caller with a session
    /// token stays that session.
    async fn seated_here(&self, caller: Caller, code: RoomCode) -> Result<Caller, Refusal> {
        let user = match &caller {
            Caller::Account { id, .. } => id.clone(),
            Caller::Player(session) => session.user().id.clone(),
            Caller::Session(_) | Caller::Guest { .. } => return Ok(caller),
        };
        self.sessions.wake_user(&user).await.map_err(unanswered)?;
        for session in self.sessions.live_of_user(&user) {
            let report = self.report(&session).await;
            if report.is_ok_and(|report| report.seats.iter().any(|seat| seat.code == code)) {
                return Ok(Caller::Session(session));
            }
        }
        Ok(caller)
    }
}

fn listening(room: RoomView, session: SessionView, user: UserView) -> Joined {
    Joined {
        room,
        seat: None,
        session,
        user,
    }
}

//! Coming back by another door: with a seat token, from a device that has no session.

use std::sync::Arc;
use std::time::Duration;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, SessionReport, unanswered};
use crate::id::{CommandKey, RoomCode, SessionId, SessionToken, UserId};
use crate::room::{
    AttachSeq, Claimed, HeldSeat, ResponseRecorder, RoomHandle, RoomKey, SeatLookup,
};
use crate::session::SessionHandle;
use crate::token::{Claims, Keyring, SeatTokenError};
use crate::wire::{Refusal, SeatView, SessionView, UserView};

/// What a seat token says that one of the hub's keys has signed.
#[derive(Debug, Clone)]
pub struct SeatProof(Claims);

/// Who comes back to something that is live, as far as can be told without asking: such players go first,
/// and lose nothing of their holds while they are kept waiting.
#[derive(Debug, Clone)]
pub enum Returning {
    Session(SessionHandle),
    /// By a seat token, which may be older than the session that has the seat.
    Seat {
        room: RoomHandle,
        user: UserId,
    },
    /// To what has not been started yet since the hub began.
    Dormant(Actions, Asleep),
}

/// What has seats and is a row still.
#[derive(Debug, Clone)]
pub enum Asleep {
    /// The session with this token.
    Session(SessionToken),
    /// The session that sits somewhere.
    User(UserId),
    /// The room with a user's seat.
    Seat { room: RoomCode, user: UserId },
}

/// A seat in the hands of a new session.
#[derive(Debug)]
pub struct Resumed {
    pub session: SessionHandle,
    /// With the token of the session.
    pub view: SessionView,
    pub seat: SeatView,
}

impl Actions {
    /// The keys of seat tokens.
    pub fn keyring(&self) -> &Arc<Keyring> {
        self.sessions.keyring()
    }

    pub(super) fn show(&self, session: SessionId, user: &UserView, seat: &HeldSeat) -> SeatView {
        self.sessions.show(session, &user.id, seat)
    }

    /// The seats of a session as its client is shown them, each with a token. They are signed here, in the task of whoever
    /// answers, and it makes way for others after each.
    pub async fn show_all(&self, session: &SessionHandle, seats: &[HeldSeat]) -> Vec<SeatView> {
        let mut shown = Vec::with_capacity(seats.len());
        for seat in seats {
            shown.push(self.show(session.id(), session.user(), seat));
            tokio::task::yield_now().await;
        }
        shown
    }

    /// Gives a seat that is told to its holder a token.
    pub(super) fn sign(
        &self,
        session: &SessionView,
        user: &UserView,
        seat: &mut Option<SeatView>,
        holding: &HeldSeat,
    ) {
        if let Some(seat) = seat {
            let signed = self.show(session.id, user, holding);
            (seat.token, seat.token_expires_at) = (signed.token, signed.token_expires_at);
        }
    }

    /// Gives seats of an answer that was kept new tokens, as far as the session holds them still.
    pub(super) async fn sign_again(
        &self,
        session: SessionId,
        seats: &mut [SeatView],
    ) -> Result<(), Refusal> {
        if seats.is_empty() {
            return Ok(());
        }
        // A session that holds a seat is live, or will be in a moment.
        let session = match self.sessions.live_by_id(session) {
            None if self.sessions.is_dormant(session) => {
                self.sessions.resolve(session).await.map_err(unanswered)?
            }
            found => found,
        };
        let Some(session) = session else {
            return Ok(());
        };
        let report = self.report(&session).await?;
        for seat in seats {
            let is_same = |held: &&HeldSeat| (held.code, held.number) == (seat.room, seat.seat);
            if let Some(held) = report.seats.iter().find(is_same) {
                let signed = self.show(session.id(), session.user(), held);
                (seat.token, seat.token_expires_at) = (signed.token, signed.token_expires_at);
            }
        }
        Ok(())
    }

    /// Whose a seat token is. Asks nobody: what the seat has become, only its room knows.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED.
    pub fn prove_seat(&self, token: &str) -> Result<SeatProof, Refusal> {
        let now = self.sessions.clock().read();
        let checked = self.keyring().check(token, now);
        checked.map(SeatProof).map_err(SeatTokenError::refuse)
    }

    /// Who comes back with a session token, if the session is live or holds a seat. None says nothing about the token.
    pub fn returning(&self, token: &SessionToken) -> Option<Returning> {
        let hash = token.hash();
        if let Some(session) = self.sessions.live_by_token(hash) {
            return Some(Returning::Session(session));
        }
        let is_dormant = self.sessions.is_token_dormant(hash);
        is_dormant.then(|| Returning::Dormant(self.clone(), Asleep::Session(token.clone())))
    }

    /// The same by the game's own login.
    pub fn returning_user(&self, user: &UserId) -> Option<Returning> {
        if let Some(session) = self.sessions.live_of_user(user).next() {
            return Some(Returning::Session(session));
        }
        let is_dormant = self.sessions.is_user_dormant(user);
        is_dormant.then(|| Returning::Dormant(self.clone(), Asleep::User(user.clone())))
    }

    /// The same with a seat token, whose room is live, or dormant, as long as anybody sits there.
    pub fn returning_to_seat(&self, SeatProof(claims): &SeatProof) -> Option<Returning> {
        let (code, user) = (claims.code, claims.user.clone());
        if let Some(room) = self.rooms.live(&RoomKey::Code(code)) {
            return Some(Returning::Seat { room, user });
        }
        let seat = Asleep::Seat { room: code, user };
        let is_dormant = self.rooms.is_dormant(code);
        is_dormant.then(|| Returning::Dormant(self.clone(), seat))
    }

    /// Has what was asked for live, and tells it that whoever comes back was told to wait.
    async fn delayed(self, asleep: Asleep, by: Duration) -> Result<(), Refusal> {
        match asleep {
            Asleep::Session(token) => self.identify(&token, &|| true).await?.delayed(by),
            Asleep::User(user) => self.session_of(&user).await?.delayed(by),
            Asleep::Seat { room, user } => {
                let room = self.rooms.find(&RoomKey::Code(room)).await;
                if let Some(room) = room.map_err(unanswered)? {
                    room.delayed(SeatLookup::User(user), by);
                }
            }
        }
        Ok(())
    }

    /// Puts a new session of the same user into the seat that a token is for. The session that has held
    /// it gives it up, and its connection closes.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED, NOT_SEATED, INVALID_USER_REFERENCE, RATE_LIMITED, UNAVAILABLE.
    pub async fn resume_seat(&self, proof: SeatProof) -> Result<Resumed, Refusal> {
        self.resume(proof, None).await
    }

    /// The same, for who comes without a connection.
    ///
    /// # Errors
    /// Those, and KEY_REUSED.
    pub async fn open_session_with(
        &self,
        seat_token: &str,
        key: Option<CommandKey>,
    ) -> Result<SessionReport, Refusal> {
        let proof = self.prove_seat(seat_token)?;
        let keyed = IdempotentRequest::with_seat_token(&proof.0.user, seat_token, key)?;
        self.once(keyed, async |keyed| {
            let resumed = self.resume(proof, keyed).await?;
            Ok(SessionReport {
                session: resumed.view,
                user: resumed.session.user().clone(),
                seats: vec![resumed.seat],
            })
        })
        .await
    }

    async fn resume(
        &self,
        SeatProof(claims): SeatProof,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Resumed, Refusal> {
        self.check_open()?;
        self.count_takeover(claims.room, claims.seat)?;
        let login_until = self.login_of_seat(&claims).await?;
        let key = RoomKey::Code(claims.code);
        let (fresh, taken) = self
            .rooms
            .ask(&key, |room| {
                let claims = claims.clone();
                // One for each try: the first may be committed, though its room failed before it said so.
                let fresh = self.fresh_of(claims.user.clone(), login_until);
                let memo = keyed.clone().map(|keyed| keyed.resumed(fresh.view()));
                async move { Ok((room.take(claims, fresh.row(), memo).await?, fresh)) }
            })
            .await
            .map_err(unanswered)?
            .map(|(taken, fresh)| (fresh, taken))
            .ok_or_else(|| SeatTokenError::Released.refuse())?;
        let taken = taken?;
        let view = fresh.view();
        let signed = self.show(view.id, &taken.user, &taken.seat);
        let seat = SeatView {
            token: signed.token,
            token_expires_at: signed.token_expires_at,
            // As it was when that was written.
            ..taken.seat.view(taken.at)
        };
        let seed = fresh.seed(taken.user, vec![taken.seat]);
        let session = self.sessions.start(seed).await.map_err(unanswered)?;
        // Somebody with the same token may have been quicker than the start of the session.
        if let Some(room) = self.rooms.live(&key) {
            room.away(session.id(), AttachSeq(0));
        }
        Ok(Resumed {
            session,
            view,
            seat,
        })
    }
}

impl IdempotentRequest {
    /// Keeps the answer to who has come back with a seat token, as the room will give it.
    fn resumed(self, session: SessionView) -> ResponseRecorder {
        ResponseRecorder::new(move |taken: &Claimed| {
            self.answered(&SessionReport {
                session,
                user: taken.user.clone(),
                seats: vec![taken.seat.view(taken.at)],
            })
        })
    }
}

impl Returning {
    /// Tells the seats that whoever comes back to them was told to wait.
    pub fn delayed(&self, by: Duration) {
        match self {
            Returning::Session(session) => session.delayed(by),
            Returning::Seat { room, user } => room.delayed(SeatLookup::User(user.clone()), by),
            Returning::Dormant(actions, asleep) => {
                let delayed = actions.clone().delayed(asleep.clone(), by);
                tokio::spawn(async move {
                    if let Err(refusal) = delayed.await {
                        tracing::debug!(%refusal, "a hold was not made longer");
                    }
                });
            }
        }
    }
}

impl SeatProof {
    /// The room in which the seat is.
    pub fn room(&self) -> RoomCode {
        self.0.code
    }
}

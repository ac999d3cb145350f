//! Takeover: a seat token is redeemed from a device without a session. A new session of the same user gets the seat,
//! and the old session's connection closes.
//!
//! Also the returning players, whom the admission schedule serves first, and the seat tokens in responses.

use std::sync::Arc;
use std::time::Duration;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, unanswered};
use crate::id::{CommandKey, RoomCode, SessionId, SessionToken, UserId};
use crate::room::{AttachSeq, HeldSeat, ResponseForm, RoomHandle, RoomKey, SeatLookup};
use crate::session::SessionHandle;
use crate::token::{Claims, Keyring, SeatTokenError};
use crate::wire::{Refusal, SeatView, SessionReport, SessionView, UserView};

/// The checked claims of a seat token, which one of the hub's keys has signed.
#[derive(Debug, Clone)]
pub struct SeatProof(Claims);

/// A client that returns to a session or seat, as far as is known without asking any actor. Such clients are admitted
/// first, and their holds are extended by the time that they wait.
#[derive(Debug, Clone)]
pub enum Returning {
    Session(SessionHandle),
    /// With a seat token, which may be older than the session that holds the seat.
    Seat {
        room: RoomHandle,
        user: UserId,
    },
    /// To a session or room that the restore has not started yet.
    Dormant(Actions, Asleep),
}

/// A session or room with seats that is still only a row.
#[derive(Debug, Clone)]
pub enum Asleep {
    /// The session with this token.
    Session(SessionToken),
    /// This user's session that holds a seat.
    User(UserId),
    /// The room with a user's seat.
    Seat { room: RoomCode, user: UserId },
}

/// A seat that a new session has taken over.
#[derive(Debug)]
pub struct Resumed {
    pub session: SessionHandle,
    /// Includes the token of the session.
    pub view: SessionView,
    pub seat: SeatView,
}

impl Actions {
    /// Returns the keys of seat tokens.
    pub fn keyring(&self) -> &Arc<Keyring> {
        self.sessions.keyring()
    }

    pub(super) fn show(&self, session: SessionId, user: &UserView, seat: &HeldSeat) -> SeatView {
        self.sessions.show(session, &user.id, seat)
    }

    /// Returns the views of a session's seats for its client, each with a new token. Signing runs in the caller's task,
    /// which yields after each.
    pub async fn show_all(&self, session: &SessionHandle, seats: &[HeldSeat]) -> Vec<SeatView> {
        let mut shown = Vec::with_capacity(seats.len());
        for seat in seats {
            shown.push(self.show(session.id(), session.user(), seat));
            tokio::task::yield_now().await;
        }
        shown
    }

    /// Adds a token to a seat in a response to its holder.
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

    /// Adds new tokens to the seats of a stored response, for those that the session still holds.
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

    /// Checks the signature and the life of a seat token. Only the seat's room knows if the seat is still held.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED.
    pub fn prove_seat(&self, token: &str) -> Result<SeatProof, Refusal> {
        let now = self.sessions.clock().read();
        let checked = self.keyring().check(token, now);
        checked.map(SeatProof).map_err(SeatTokenError::refuse)
    }

    /// Returns the session that a token returns to, if it is live or dormant. `None` does not mean that the token is
    /// invalid.
    pub fn returning(&self, token: &SessionToken) -> Option<Returning> {
        let hash = token.hash();
        if let Some(session) = self.sessions.live_by_token(hash) {
            return Some(Returning::Session(session));
        }
        let is_dormant = self.sessions.is_token_dormant(hash);
        is_dormant.then(|| Returning::Dormant(self.clone(), Asleep::Session(token.clone())))
    }

    /// Returns the session that a user returns to with a login of the game, if it is live or dormant.
    pub fn returning_user(&self, user: &UserId) -> Option<Returning> {
        if let Some(session) = self.sessions.live_of_user(user).next() {
            return Some(Returning::Session(session));
        }
        let is_dormant = self.sessions.is_user_dormant(user);
        is_dormant.then(|| Returning::Dormant(self.clone(), Asleep::User(user.clone())))
    }

    /// Returns the seat that a seat token returns to, if its room is live or dormant. A room with a held or away seat
    /// is one of the two.
    pub fn returning_to_seat(&self, SeatProof(claims): &SeatProof) -> Option<Returning> {
        let (code, user) = (claims.code, claims.user.clone());
        if let Some(room) = self.rooms.live(&RoomKey::Code(code)) {
            return Some(Returning::Seat { room, user });
        }
        let seat = Asleep::Seat { room: code, user };
        let is_dormant = self.rooms.is_dormant(code);
        is_dormant.then(|| Returning::Dormant(self.clone(), seat))
    }

    /// Starts the dormant session or room, and extends its holds by the time that the client waits.
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

    /// Redeems a seat token: a new session of the same user takes the seat over. The session that held the seat loses
    /// it, and its connection closes.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED, NOT_SEATED, INVALID_USER_REFERENCE, RATE_LIMITED, UNAVAILABLE.
    pub async fn resume_seat(&self, proof: SeatProof) -> Result<Resumed, Refusal> {
        self.resume(proof, None).await
    }

    /// Does the same as [`Actions::resume_seat`] for a request without a connection.
    ///
    /// # Errors
    /// Those of [`Actions::resume_seat`], and KEY_REUSED.
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
                // A new one for each try: the first may be committed although its room failed before the answer.
                let fresh = self.fresh_of(claims.user.clone(), login_until);
                let response = keyed
                    .clone()
                    .map(|keyed| keyed.draft(ResponseForm::Session(fresh.view())));
                async move { Ok((room.take(claims, fresh.row(), response).await?, fresh)) }
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
            // The state at the time of the write.
            ..taken.seat.view(taken.at)
        };
        let seed = fresh.seed(taken.user, vec![taken.seat]);
        let session = self.sessions.start(seed).await.map_err(unanswered)?;
        // Another takeover with the same token may have come before the session was started.
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

impl Returning {
    /// Extends the holds of the seats by the time that the client waits.
    pub fn delayed(&self, by: Duration) {
        match self {
            Returning::Session(session) => session.delayed(by),
            Returning::Seat { room, user } => room.delayed(SeatLookup::User(user.clone()), by),
            Returning::Dormant(actions, asleep) => {
                let delayed = actions.clone().delayed(asleep.clone(), by);
                tokio::spawn(async move {
                    if let Err(refusal) = delayed.await {
                        tracing::debug!(%refusal, "a hold was not extended");
                    }
                });
            }
        }
    }
}

impl SeatProof {
    /// Returns the code of the seat's room.
    pub fn room(&self) -> RoomCode {
        self.0.code
    }
}

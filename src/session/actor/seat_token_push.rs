//! The seat tokens of a live session: what its client is sent, and what becomes of it when another
//! session comes with one.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::state::{Phase, Session};
use crate::id::{RoomId, SessionId, UserId, random_bytes};
use crate::mailbox::answer;
use crate::room::HeldSeat;
use crate::session::message::{SessionMessage, Signed};
use crate::session::registry::{SessionContext, Sessions};
use crate::token::{Claims, Generations, Keyring};
use crate::wire::{Close, Refusal, SeatView, raw_json};

/// `data` of the push that carries a seat with its new token.
#[derive(Serialize)]
struct Renewed {
    #[serde(rename = "type")]
    kind: &'static str,
    seat: SeatView,
}

impl Sessions {
    /// The keys of seat tokens.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.context().keyring
    }

    /// Returns a seat as its holder is shown it, with a token for it. Nothing is written.
    pub fn show(&self, session: SessionId, user: &UserId, seat: &HeldSeat) -> SeatView {
        self.context().show(session, user, seat)
    }
}

impl SessionContext {
    /// A seat as its holder is shown it, with a token for it. Nothing is written.
    pub(crate) fn show(&self, session: SessionId, user: &UserId, seat: &HeldSeat) -> SeatView {
        let now = self.clock.read();
        let claims = Claims {
            user: user.clone(),
            room: seat.room,
            code: seat.code,
            seat: seat.number,
            team: seat.team.clone(),
            session,
            generation: seat.tokens.offered(),
        };
        let signed = self.keyring.sign(&claims, now);
        SeatView {
            token: Some(signed.token),
            token_expires_at: Some(signed.expires_at),
            ..seat.view(now.hub)
        }
    }
}

impl Session {
    /// Another session of the user has come with the seat's token. Whoever is attached here is the device
    /// that was left; seats in other rooms stay this session's, and wait for its return.
    pub(crate) fn taken_over(&mut self, room: RoomId) {
        self.seats.remove(room);
        self.arrived_at(room);
        match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Attached(link) => {
                self.context.metrics.take_overs.increment(1);
                link.cut(Close::Replaced);
                if let Some(arriving) = self.arriving.take() {
                    answer(arriving.reply, Err(Refusal::unavailable()));
                }
                self.turn_away();
            }
            other @ (Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired) => {
                self.phase = other;
            }
        }
    }

    /// What was signed for a seat is over: the client gets another token at once.
    pub(crate) fn tokens_ended(&mut self, room: RoomId, tokens: Generations) {
        if let Some(seat) = self.seats.get_mut(room) {
            seat.tokens = tokens;
        }
        self.sign(self.seats.get(room).cloned().into_iter().collect());
    }

    /// Tokens are half over: the client gets new ones.
    pub(crate) fn renew(&mut self) {
        // An earlier life of this session may have asked to be woken as well.
        if self.renew_at.is_none_or(|at| self.now() < at) {
            return;
        }
        self.renew_at = None;
        self.sign(self.seats.iter().cloned().collect());
    }

    /// Sees to it that the client has a good token as long as it is connected. Who is away costs nothing:
    /// the next connect reply has new tokens.
    pub(crate) async fn renew_later(&mut self) {
        let is_needed = matches!(self.phase, Phase::Attached(_)) && !self.seats.is_empty();
        if !is_needed || self.renew_at.is_some() {
            return;
        }
        let delay = renewal_delay(self.context.keyring.ttl());
        self.renew_at = Some(self.now().plus(delay));
        let id = self.known.id;
        self.context.renewals.of(&id).after(delay, id).await;
    }

    /// Has tokens signed for seats, and sent once they are: a signature takes longer than all else that a session does.
    fn sign(&self, seats: Vec<HeldSeat>) {
        if seats.is_empty() || !matches!(self.phase, Phase::Attached(_)) {
            return;
        }
        let (context, known) = (Arc::clone(&self.context), Arc::clone(&self.known));
        let me = self.me.clone();
        tokio::spawn(async move {
            for seat in seats {
                let signed = Signed {
                    room: seat.room,
                    generation: seat.tokens.offered(),
                    seat: context.show(known.id, &known.user.id, &seat),
                };
                // It has stopped, and its client is sent new ones when it comes back.
                let _ = me.cast(SessionMessage::Signed(Box::new(signed)));
                tokio::task::yield_now().await;
            }
        });
    }

    /// Sends the client a token, unless a later generation has begun while it was signed.
    pub(crate) fn signed(&self, signed: Signed) {
        let seat = self.seats.get(signed.room);
        let is_current = seat.is_some_and(|seat| seat.tokens.offered() == signed.generation);
        if let (Phase::Attached(link), true) = (&self.phase, is_current) {
            link.message(&raw_json(&Renewed {
                kind: "seat.token",
                seat: signed.seat,
            }));
        }
    }
}

/// Half of a token's life, or up to a tenth of that less, so that those who came back together after a
/// restart are not all served together.
fn renewal_delay(ttl: Duration) -> Duration {
    let [random] = random_bytes::<1>();
    (ttl / 2).mul_f64(1.0 - 0.1 * f64::from(random) / f64::from(u8::MAX))
}

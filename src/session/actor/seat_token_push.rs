//! The seat tokens of a live session: pushes of renewed tokens to its client, and the takeover of a seat by another
//! session that redeems one. The client gets new tokens at connect, at half of their life, and when old ones end.

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

/// The `data` of the push with a seat and its new token.
#[derive(Serialize)]
struct Renewed {
    #[serde(rename = "type")]
    kind: &'static str,
    seat: SeatView,
}

impl Sessions {
    /// Returns the keys of seat tokens.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.context().keyring
    }

    /// Returns the view of a seat for its holder, with a new token. Nothing is written.
    pub fn show(&self, session: SessionId, user: &UserId, seat: &HeldSeat) -> SeatView {
        self.context().show(session, user, seat)
    }
}

impl SessionContext {
    /// Returns the view of a seat for its holder, with a new token. Nothing is written.
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
    /// Removes a seat that another session of the user has taken over by its token. A connection here belongs to the
    /// device that the user left, so it closes. Seats in other rooms stay with this session and go away.
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

    /// Replaces a seat's tokens after the signed ones were ended: the client gets another token at once.
    pub(crate) fn tokens_ended(&mut self, room: RoomId, tokens: Generations) {
        if let Some(seat) = self.seats.get_mut(room) {
            seat.tokens = tokens;
        }
        self.sign(self.seats.get(room).cloned().into_iter().collect());
    }

    /// Sends the client new tokens at half of the life of its present ones.
    pub(crate) fn renew(&mut self) {
        // A wake-up that an earlier actor of this session scheduled comes too soon.
        if self.renew_at.is_none_or(|at| self.now() < at) {
            return;
        }
        self.renew_at = None;
        self.sign(self.seats.iter().cloned().collect());
    }

    /// Schedules the next renewal, so that a connected client always has a valid token. An away session needs none: its
    /// next connect reply contains new tokens.
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

    /// Signs tokens for seats in a separate task, and then sends them: a signature takes longer than all other work of
    /// a session.
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
                // On an error the session has stopped, and its client gets new tokens when it reconnects.
                let _ = me.cast(SessionMessage::Signed(Box::new(signed)));
                tokio::task::yield_now().await;
            }
        });
    }

    /// Sends the client a signed token, unless a later generation has begun in the meantime.
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

/// Returns half of a token's life, less a random part of up to a tenth: clients that reconnected together after a
/// restart are not all renewed together.
fn renewal_delay(ttl: Duration) -> Duration {
    let [random] = random_bytes::<1>();
    (ttl / 2).mul_f64(1.0 - 0.1 * f64::from(random) / f64::from(u8::MAX))
}

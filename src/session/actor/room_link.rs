//! Messages from a session to its rooms, which may be failing or restarting at that very moment.
//!
//! The session sends its state (attached or away, with its attach sequence). A room where it no longer sits answers
//! that, so a seat event that was lost is made up for.

use std::sync::Arc;
use std::time::Duration;

use super::state::{Phase, Session, next_epoch};
use crate::id::RoomId;
use crate::room::{HeldSeat, RoomHandle, RoomKey, SeatEvent, SeatLookup};
use crate::session::message::SessionMessage;

/// Wait before another try to ask a room.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Remaining hold below which a room is asked about its seat: longer than starting all sessions of a hub takes.
const SOON: Duration = Duration::from_secs(10);

impl Session {
    /// Sends a room that the session is attached; the room confirms its seat. A room that is not live is started first.
    pub(crate) fn tell_back(&self, seat: &HeldSeat) {
        let key = RoomKey::Code(seat.code);
        let (epoch, room) = (self.epoch, seat.room);
        if let Some(room) = self.context.rooms.live(&key) {
            room.back(self.known.id, epoch);
            return;
        }
        let (context, me) = (Arc::clone(&self.context), self.me.clone());
        tokio::spawn(async move {
            let news = match context.rooms.find(&key).await {
                Ok(Some(_)) => SessionMessage::Found { room },
                Ok(None) => SessionMessage::Seat(SeatEvent::Released { room }),
                Err(_) => SessionMessage::Missing { room, epoch },
            };
            // On an error the session has failed, and no connection waits any more.
            let _ = me.cast(news);
        });
    }

    /// Asks a room about a seat whose release may or may not have been written.
    pub(crate) fn find_out(&self, room: RoomId) {
        let Some(seat) = self.seats.get(room) else {
            return;
        };
        let key = RoomKey::Code(seat.code);
        let (context, me) = (Arc::clone(&self.context), self.me.clone());
        tokio::spawn(async move {
            // A room that does not know the outcome fails and restarts: a room that answers knows it.
            let view = async || {
                let asked = context
                    .rooms
                    .ask(&key, |room| async move { room.view().await });
                asked.await
            };
            while view().await.is_err() {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            // On an error the session has failed; its successor has read the stored state.
            let _ = me.cast(SessionMessage::Found { room });
        });
    }

    /// Sends a room the session's current state, which the room may have missed. A room in which the session does not
    /// sit answers that.
    pub(crate) fn found(&self, room: RoomId) {
        let Some(seat) = self.seats.get(room) else {
            return;
        };
        match (
            &self.phase,
            self.context.rooms.live(&RoomKey::Code(seat.code)),
        ) {
            (Phase::Attached(_), Some(room)) => room.back(self.known.id, self.epoch),
            (Phase::Away, Some(room)) => room.away(self.known.id, self.epoch),
            (
                Phase::Attached(_) | Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired,
                _,
            ) => {}
        }
    }

    /// Sends all rooms the session's current state, so that a room where it no longer sits answers that.
    pub(crate) fn catch_up(&self) {
        for seat in self.seats.iter() {
            self.found(seat.room);
        }
    }

    /// Asks about seats whose hold was about to end when their rows were read: they may have been released by now.
    pub(crate) fn ask_what_ends_soon(&self) {
        let now = self.now();
        for seat in self.seats.iter() {
            if seat.hold_until.is_some_and(|end| end.since(now) < SOON) {
                self.found(seat.room);
            }
        }
    }

    /// Extends the holds by the time that the hub makes the client wait.
    pub(crate) fn delayed(&self, by: Duration) {
        if !matches!(self.phase, Phase::Away) {
            return;
        }
        for seat in self.seats.iter() {
            let (key, session) = (RoomKey::Code(seat.code), self.known.id);
            let delayed = move |room: RoomHandle| room.delayed(SeatLookup::Session(session), by);
            if let Some(room) = self.context.rooms.live(&key) {
                delayed(room);
                continue;
            }
            let context = Arc::clone(&self.context);
            tokio::spawn(async move {
                // If the room cannot be read now, the hold stays as it was.
                if let Ok(Some(room)) = context.rooms.find(&key).await {
                    delayed(room);
                }
            });
        }
    }

    /// Stops waiting for a room that cannot be loaded. When it is back, it notifies the sessions that sit there.
    pub(crate) fn missing(&mut self, room: RoomId, epoch: crate::room::AttachSeq) {
        if epoch == self.epoch {
            self.arrived_at(room);
            self.advance();
        }
    }

    /// Marks the session away after a failure: the connection ended with the actor, and the rooms do not know that.
    pub(crate) fn rebuilt(&mut self) {
        self.epoch = next_epoch();
        let now = self.now();
        for seat in self.seats.iter_mut() {
            seat.hold_until.get_or_insert(now.plus(seat.grace));
        }
        for room in self.rooms() {
            room.back(self.known.id, self.epoch);
            room.away(self.known.id, self.epoch);
        }
    }

    /// Returns the live rooms in which the session sits.
    pub(crate) fn rooms(&self) -> Vec<RoomHandle> {
        self.seats
            .iter()
            .filter_map(|seat| self.context.rooms.live(&RoomKey::Code(seat.code)))
            .collect()
    }
}

//! What a session tells its rooms, which may be failing and coming back at that very moment.

use std::sync::Arc;
use std::time::Duration;

use super::state::{Phase, Session, next_epoch};
use crate::id::RoomId;
use crate::room::{HeldSeat, RoomHandle, RoomKey, SeatEvent, SeatLookup};
use crate::session::message::SessionMessage;
use crate::supervisor::LoadError;

/// The wait before a room that could not be asked is asked again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Longer than it takes to start a session from its row, for all sessions of a hub.
const SOON: Duration = Duration::from_secs(10);

impl Session {
    /// Tells a room that the session is attached; its news are awaited. One that is not live is
    /// started first.
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
                Err(LoadError) => SessionMessage::Missing { room, epoch },
            };
            // The session has failed, and nobody waits any more.
            let _ = me.cast(news);
        });
    }

    /// Learns from a room what became of a seat whose release may or may not have been written.
    pub(crate) fn find_out(&self, room: RoomId) {
        let Some(seat) = self.seats.get(room) else {
            return;
        };
        let key = RoomKey::Code(seat.code);
        let (context, me) = (Arc::clone(&self.context), self.me.clone());
        tokio::spawn(async move {
            // A room that does not know fails and comes back: what answers is one that knows.
            let view = async || {
                let asked = context
                    .rooms
                    .ask(&key, |room| async move { room.view().await });
                asked.await
            };
            while let Err(LoadError) = view().await {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            // The session has failed; its successor has read the truth.
            let _ = me.cast(SessionMessage::Found { room });
        });
    }

    /// Tells a room how the session stands at this moment: the room may have missed it. A room in which
    /// the session does not sit says so.
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

    /// Tells all its rooms how it stands, so that each says if the session does not sit there any more.
    pub(crate) fn catch_up(&self) {
        for seat in self.seats.iter() {
            self.found(seat.room);
        }
    }

    /// A seat whose hold was about to end when it was read may be released by now.
    pub(crate) fn ask_what_ends_soon(&self) {
        let now = self.now();
        for seat in self.seats.iter() {
            if seat.hold_until.is_some_and(|end| end.since(now) < SOON) {
                self.found(seat.room);
            }
        }
    }

    /// Whoever comes back was told to wait, and loses nothing of its holds by that.
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
                // One that cannot be read now has its hold as it was.
                if let Ok(Some(room)) = context.rooms.find(&key).await {
                    delayed(room);
                }
            });
        }
    }

    /// A room cannot be had. When it is back, it tells those who sit there.
    pub(crate) fn missing(&mut self, room: RoomId, epoch: crate::room::AttachSeq) {
        if epoch == self.epoch {
            self.arrived_at(room);
            self.advance();
        }
    }

    /// After a failure: the connection went with the actor, and the rooms do not know.
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

    /// The rooms in which the session sits, as far as they are live.
    pub(crate) fn rooms(&self) -> Vec<RoomHandle> {
        self.seats
            .iter()
            .filter_map(|seat| self.context.rooms.live(&RoomKey::Code(seat.code)))
            .collect()
    }
}

//! How a room halts when the hub stops.
//!
//! A pause freezes its hold timers and refuses claims, while members play on. A freeze waits until no seat change and
//! no publication is being written, hands out the stream, and refuses all further changes to it.

use ractor::RpcReplyPort;

use crate::id::RoomId;
use crate::persistence::StoredStream;
use crate::room::core::{Phase, Room};

/// A room's stream, to be written out. None for an open channel, and for a durable stream.
pub(in crate::room) type Handout = Option<(RoomId, StoredStream)>;

/// The phases of a stop.
pub(in crate::room) enum ShutdownPhase {
    Running,
    /// Hold timers are frozen and claims are refused; members play on.
    Paused,
    /// As paused; the stream is handed out once nothing is being written that would add events to it.
    Freezing(RpcReplyPort<Handout>),
    /// The stream was handed out: changes to it are refused.
    Frozen,
}

impl Room {
    pub(in crate::room) fn is_halted(&self) -> bool {
        !matches!(self.life.halt, ShutdownPhase::Running)
    }

    pub(in crate::room) fn is_frozen(&self) -> bool {
        matches!(self.life.halt, ShutdownPhase::Frozen)
    }

    pub(in crate::room) fn pause(&mut self) {
        if !self.is_halted() {
            self.life.halt = ShutdownPhase::Paused;
            self.offer();
        }
    }

    pub(in crate::room) fn freeze(&mut self, reply: RpcReplyPort<Handout>) {
        self.life.halt = ShutdownPhase::Freezing(reply);
        self.freeze_if_settled();
    }

    pub(in crate::room) fn freeze_if_settled(&mut self) {
        if self.seating.is_settling()
            || self.life.phase == Phase::Closing
            || !self.journal.is_idle()
        {
            return;
        }
        match std::mem::replace(&mut self.life.halt, ShutdownPhase::Frozen) {
            ShutdownPhase::Freezing(reply) => {
                let is_written_out = !self.stream.is_durable();
                let id = self.id().filter(|_| is_written_out);
                let stream = id.map(|id| (id, self.stream.to_stored()));
                self.answer(reply, stream);
            }
            other @ (ShutdownPhase::Running | ShutdownPhase::Paused | ShutdownPhase::Frozen) => {
                self.life.halt = other
            }
        }
    }
}

//! How a room comes to rest when the hub stops: first its clocks stand still, at last its stream.

use ractor::RpcReplyPort;

use super::{Phase, Room};
use crate::id::RoomId;
use crate::mailbox::answer;
use crate::persistence::StoredStream;

/// A room's stream, to be written out. None for an open channel, and where the database has it.
pub(in crate::room) type Handout = Option<(RoomId, StoredStream)>;

/// How far a room is from standing still.
pub(in crate::room) enum ShutdownPhase {
    Running,
    /// Holds stand still and no seat is taken; those who are here play on.
    Paused,
    /// As paused; the stream is handed out once nothing is being written that would add news to it.
    Freezing(RpcReplyPort<Handout>),
    /// The stream was handed out: what would change it is refused.
    Frozen,
}

impl Room {
    pub(in crate::room) fn is_halted(&self) -> bool {
        !matches!(self.halt, ShutdownPhase::Running)
    }

    pub(in crate::room) fn is_frozen(&self) -> bool {
        matches!(self.halt, ShutdownPhase::Frozen)
    }

    pub(in crate::room) fn pause(&mut self) {
        if !self.is_halted() {
            self.halt = ShutdownPhase::Paused;
            self.offer();
        }
    }

    pub(in crate::room) fn freeze(&mut self, reply: RpcReplyPort<Handout>) {
        self.halt = ShutdownPhase::Freezing(reply);
        self.freeze_if_settled();
    }

    pub(in crate::room) fn freeze_if_settled(&mut self) {
        if self.seating.is_settling() || self.phase == Phase::Closing || !self.journal.is_idle() {
            return;
        }
        match std::mem::replace(&mut self.halt, ShutdownPhase::Frozen) {
            ShutdownPhase::Freezing(reply) => {
                let id = self.profile.as_ref().map(|profile| profile.id);
                let is_written_out = !self.stream.is_durable();
                let id = id.filter(|_| is_written_out);
                answer(reply, id.map(|id| (id, self.stream.to_stored())));
            }
            other @ (ShutdownPhase::Running | ShutdownPhase::Paused | ShutdownPhase::Frozen) => {
                self.halt = other
            }
        }
    }
}

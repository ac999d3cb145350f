//! The messages to a session's actor, and its answers.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;

use super::actor::adoption::Adoption;
use super::handle::{Attachment, ConnectOrder};
use super::registry::SessionSeed;
use crate::clock::{HubTime, WallTime};
use crate::delivery::Outbound;
use crate::id::{RoomCode, RoomId};
use crate::persistence::{IdempotencyRecord, Refused};
use crate::room::{AttachSeq, ClaimNotice, HeldSeat, SeatEvent};
use crate::wire::{Frame, Refusal, SeatView, UserView};

pub(super) enum SessionMessage {
    /// Attaches a connection; answered when every seat is confirmed.
    Attach {
        outbound: Outbound,
        order: ConnectOrder,
        reply: RpcReplyPort<Result<Attached, Refusal>>,
    },
    /// The connection with this attach sequence has closed.
    Detached {
        epoch: AttachSeq,
    },
    /// A seat is about to be claimed for the session: in the room with this code, or in a new one without a code.
    BeginClaim {
        code: Option<RoomCode>,
        reply: RpcReplyPort<Result<ClaimTicket, Refusal>>,
    },
    /// A claim started with `BeginClaim` has finished, successfully or not.
    ClaimEnded,
    /// An event of a seat, from its room.
    Seat(SeatEvent),
    Report {
        reply: RpcReplyPort<Report>,
    },
    /// Ends the session and releases its seats; answered once that is durable.
    End {
        /// Queued for the attached client before its connection closes.
        last_words: Option<Frame>,
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    EndSettled(Result<(), Refused>),
    /// The session has ended with all others of its user, and that is committed.
    Ended,
    /// Makes a guest's session another user's; answered, once that is durable, with the data to start its successor.
    Adopt {
        adoption: Box<Adoption>,
        reply: RpcReplyPort<Result<Box<SessionSeed>, Refusal>>,
    },
    AdoptionSettled(Result<UserView, Refused>),
    /// The user has logged in again: the session's token is valid until then.
    LoggedIn {
        until: Option<HubTime>,
    },
    /// A room is live again, or knows the outcome of a release: the session sends it its current state.
    Found {
        room: RoomId,
    },
    /// A room cannot be loaded at the moment: the arriving connection does not wait for it.
    Missing {
        room: RoomId,
        epoch: AttachSeq,
    },
    /// A seat event came late: the session asks its rooms for the current state of its seats.
    CatchUp,
    /// The hub has made the client wait before it connects: the holds last longer by that time.
    Delayed {
        by: Duration,
    },
    /// A deadline of the session has passed: retire if idle, or slide its life on.
    Wake,
    /// The seat tokens that the client has are at half their life.
    Renew,
    /// A new token for a seat has been signed.
    Signed(Box<Signed>),
    /// The shard asks the session to retire if it is idle.
    Retire,
    /// Fail point: makes the actor panic.
    #[cfg(feature = "faults")]
    Panic,
}

/// A seat to send to the client, with a new token of this generation.
#[derive(Debug)]
pub(super) struct Signed {
    pub room: RoomId,
    pub generation: i64,
    pub seat: SeatView,
}

/// The answer to an attached connection.
#[derive(Debug)]
pub struct Attached {
    /// Makes the session away when dropped.
    pub attachment: Attachment,
    pub report: Report,
}

/// The current state of a session.
#[derive(Debug)]
pub struct Report {
    pub expires_at: WallTime,
    pub seats: Vec<HeldSeat>,
    pub is_attached: bool,
    /// True while a claim is under way, so that a seat may be added in a moment.
    pub is_claiming: bool,
}

/// Permission to claim a seat. New connections wait until its notice reports the end of the claim.
#[derive(Debug)]
pub(crate) struct ClaimTicket {
    pub epoch: AttachSeq,
    pub is_attached: bool,
    pub expires_at: WallTime,
    pub notice: ClaimNotice,
}

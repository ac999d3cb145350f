//! Everything a session can be asked and told.

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
    /// A connection has come; answered when all seats are known.
    Attach {
        outbound: Outbound,
        order: ConnectOrder,
        reply: RpcReplyPort<Result<Attached, Refusal>>,
    },
    /// The connection of that epoch is gone.
    Detached {
        epoch: AttachSeq,
    },
    /// Somebody is about to claim a seat for the session, in the room with this code if there is one already.
    BeginClaim {
        code: Option<RoomCode>,
        reply: RpcReplyPort<Result<ClaimTicket, Refusal>>,
    },
    /// What it was given leave for is over, well or not.
    ClaimEnded,
    /// A room has news of a seat.
    Seat(SeatEvent),
    Report {
        reply: RpcReplyPort<Report>,
    },
    /// Ends the session and gives up its seats; answered once that is durable.
    End {
        /// Queued for the attached client before its connection closes.
        last_words: Option<Frame>,
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    EndSettled(Result<(), Refused>),
    /// Makes a guest's session another user's; answered, once that is durable, with what its successor starts from.
    Adopt {
        adoption: Box<Adoption>,
        reply: RpcReplyPort<Result<Box<SessionSeed>, Refusal>>,
    },
    AdoptionSettled(Result<UserView, Refused>),
    /// The user has logged in anew: the session's token is good until then.
    LoggedIn {
        until: Option<HubTime>,
    },
    /// A room is there again, or knows what became of a seat: it is told how the session stands.
    Found {
        room: RoomId,
    },
    /// A room cannot be had at the moment: whoever arrives does not wait for it.
    Missing {
        room: RoomId,
        epoch: AttachSeq,
    },
    /// It was told of a seat late: its rooms know what has become of it since.
    CatchUp,
    /// Its connection was told to come back later: its holds last longer by that.
    Delayed {
        by: Duration,
    },
    /// Time to look whether anybody needs the session.
    Wake,
    /// The seat tokens that the client has are half over.
    Renew,
    /// A new token for a seat is signed.
    Signed(Box<Signed>),
    /// The shard asks whether the session can go.
    Retire,
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
}

/// A seat as its client is sent it, with a new token of this generation.
#[derive(Debug)]
pub(super) struct Signed {
    pub room: RoomId,
    pub generation: i64,
    pub seat: SeatView,
}

/// What a connection gets.
#[derive(Debug)]
pub struct Attached {
    /// Turns the session away when dropped.
    pub attachment: Attachment,
    pub report: Report,
}

/// How a session stands.
#[derive(Debug)]
pub struct Report {
    pub expires_at: WallTime,
    pub seats: Vec<HeldSeat>,
    pub is_attached: bool,
    /// Whether a seat may be added in a moment.
    pub is_claiming: bool,
}

/// Leave to claim a seat. As long as it lives, connections wait to learn what came of it.
#[derive(Debug)]
pub(crate) struct ClaimTicket {
    pub epoch: AttachSeq,
    pub is_attached: bool,
    pub expires_at: WallTime,
    pub notice: ClaimNotice,
}

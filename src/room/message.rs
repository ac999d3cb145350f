//! The messages of a room's mailbox, and the requests and answers that they carry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::RpcReplyPort;
use serde_json::value::RawValue;

use super::core::seat::session_change::RoomNews;
use super::core::shutdown::Handout;
use super::core::stream::server_api::ServerRequest;
use super::response::ResponseDraft;
use super::rules::members::{Peer, SubscriptionGuard};
use super::rules::publish_queue::Publisher;
use super::seat_event::{AttachSeq, ClaimNotice, HeldSeat};
use crate::clock::HubTime;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionId, UserId};
use crate::persistence::{
    Committed, IdempotencyRecord, NewSession, ReadError, SessionWrite, StoredPublication,
    StoredSeat, UserWrite, WriteError,
};
use crate::token::{Claims, Generations};
use crate::wire::{
    Failure, HistoryRequest, Overrides, Refusal, ReleaseReason, RoomView, SeatView,
    SubscribeRequest, SubscribeResult, UserView,
};

pub(super) enum RoomMessage {
    Claim(Box<ClaimRequest>),
    /// Redeems a seat token.
    Take(Box<TakeRequest>),
    /// An explicit leave. Answered once it is durable.
    Release {
        session: SessionId,
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    /// Keeps an away seat for longer. Answered once it is durable.
    Hold(HoldRequest),
    /// A returning player was asked to wait: the hold of the seat is extended by that time.
    Delayed {
        sitter: SeatLookup,
        by: Duration,
    },
    /// The session has a connection; answered by a seat event.
    Back {
        session: SessionId,
        epoch: AttachSeq,
    },
    /// The session lost the connection with that attach sequence.
    Away {
        session: SessionId,
        epoch: AttachSeq,
    },
    /// A session has changed as a whole, and its seat here with it. The change is durable already.
    SessionChanged(Box<RoomNews>),
    /// Answered with the result, unless the room has queued it for the client.
    Subscribe {
        subscribing: Box<Subscribing>,
        reply: RpcReplyPort<Result<Option<SubscribeResult>, Failure>>,
    },
    Unsubscribe {
        asked: Initiator,
        connection: ConnectionId,
        outbound: Outbound,
        reply: RpcReplyPort<()>,
    },
    /// The connection is gone.
    Leave {
        connection: ConnectionId,
    },
    /// A connection's subscription has expired.
    Expire {
        connection: ConnectionId,
    },
    /// The client info of a connection has changed.
    Renew {
        peer: Arc<Peer>,
    },
    Publish {
        peer: Arc<Peer>,
        data: Bytes,
        /// When the request was made.
        since: Instant,
        publisher: Publisher,
    },
    /// A request of the game's own server.
    Game(Box<ServerRequest>),
    /// Forgets publications older than this: the memory for the histories of all open channels is scarce.
    ForgetBefore(HubTime),
    /// Removes the history of the stream. Answered once that is durable, if the stream is.
    RemoveHistory {
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    /// The stored history of a durable stream, or the error of reading it.
    Past(Result<Vec<StoredPublication>, ReadError>),
    /// Queues the reply to a question about the room on `outbound`.
    Ask {
        id: u32,
        peer: Arc<Peer>,
        question: Question,
        outbound: Outbound,
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    View {
        reply: RpcReplyPort<RoomView>,
    },
    /// Persistence has settled a change.
    Settled {
        change: Change,
        result: Result<Committed, WriteError>,
    },
    /// The row of a seat whose state in the database differs from the room's.
    SeatRead(Box<SeatRead>),
    Wake(Wake),
    /// Flushes the publications that are batched for a crowd, unless more are coming.
    Rouse,
    /// The matchmaker was restarted and needs the room's free seats again.
    Offer,
    /// The shard asks whether the room can stop.
    Retire,
    /// Fails the room, for tests.
    #[cfg(feature = "faults")]
    Panic,
    /// The hub is stopping: hold timers are frozen, and seats can no longer be claimed.
    Pause,
    /// The hub has no clients left: the room hands out its stream once that is settled.
    Freeze {
        reply: RpcReplyPort<Handout>,
    },
}

impl RoomMessage {
    /// Returns whether the message may change seats; the most frequent messages do not.
    pub(super) fn is_about_seats(&self) -> bool {
        match self {
            RoomMessage::Claim(_)
            | RoomMessage::Take(_)
            | RoomMessage::Release { .. }
            | RoomMessage::Hold(_)
            | RoomMessage::Delayed { .. }
            | RoomMessage::Back { .. }
            | RoomMessage::Away { .. }
            | RoomMessage::SessionChanged(_)
            | RoomMessage::Settled { .. }
            | RoomMessage::SeatRead(_)
            | RoomMessage::Wake(_) => true,
            RoomMessage::Subscribe { .. }
            | RoomMessage::Unsubscribe { .. }
            | RoomMessage::Leave { .. }
            | RoomMessage::Expire { .. }
            | RoomMessage::Renew { .. }
            | RoomMessage::Publish { .. }
            | RoomMessage::Game(_)
            | RoomMessage::ForgetBefore(_)
            | RoomMessage::RemoveHistory { .. }
            | RoomMessage::Past(_)
            | RoomMessage::Ask { .. }
            | RoomMessage::View { .. }
            | RoomMessage::Rouse
            | RoomMessage::Offer
            | RoomMessage::Retire
            | RoomMessage::Pause
            | RoomMessage::Freeze { .. } => false,
            #[cfg(feature = "faults")]
            RoomMessage::Panic => false,
        }
    }
}

/// The initiator of a subscribe or an unsubscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The client, by its command with that id: the room itself queues the reply.
    ByClient { id: u32 },
    /// The hub, for the client: a server-side subscription.
    ByHub,
}

/// Rights beyond what the kind allows, given by a token or by the hub itself.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// May subscribe regardless of the kind's permissions.
    pub is_given: bool,
    /// The member's info for others while it holds no seat.
    pub info: Option<Arc<RawValue>>,
    /// Extra data for the subscribe result.
    pub data: Option<Arc<RawValue>>,
    /// Options of this subscription that override the kind's.
    pub overrides: Overrides,
    /// Seconds within which the client has to refresh the subscription.
    pub ttl: Option<u32>,
}

/// A request to subscribe to a room.
#[derive(Debug, Clone)]
pub struct Subscribing {
    pub asked: Initiator,
    pub peer: Arc<Peer>,
    pub request: SubscribeRequest,
    pub grant: Grant,
    pub outbound: Outbound,
    pub tie: SubscriptionGuard,
}

/// A question that a member may ask.
#[derive(Debug, Clone)]
pub enum Question {
    Presence,
    PresenceStats,
    History(HistoryRequest),
}

/// How to look up a seat: by session or by user.
#[derive(Debug, Clone)]
pub enum SeatLookup {
    Session(SessionId),
    /// A user holds at most one seat in a room.
    User(UserId),
}

/// A request for a seat.
#[derive(Debug)]
pub(super) struct ClaimRequest {
    pub session: SessionId,
    pub user: UserView,
    /// How user and session are written, in the same commit as the seat.
    pub user_write: UserWrite,
    pub session_write: SessionWrite,
    /// The session's newest attachment; `is_attached` while it lasts.
    pub epoch: AttachSeq,
    pub is_attached: bool,
    pub seat: Option<u16>,
    pub team: Option<String>,
    /// Notifies the session that the claim has finished. None for a session that is created by this very claim.
    pub notice: Option<ClaimNotice>,
    pub response: Option<ResponseDraft>,
    pub reply: RpcReplyPort<Result<Claimed, Refusal>>,
}

/// A request to keep an away seat for at least this time from now.
#[derive(Debug)]
pub(super) struct HoldRequest {
    pub seat: u16,
    pub at_least: Duration,
    /// The idempotency key of the request, under which the answer is stored.
    pub key: Option<Arc<IdempotencyRecord>>,
    pub reply: RpcReplyPort<Result<ExtendedHold, Refusal>>,
}

/// A seat with an extended hold.
#[derive(Debug, Clone)]
pub struct ExtendedHold {
    pub seat: SeatView,
    /// True if this very answer is stored under the request's idempotency key.
    pub is_stored: bool,
}

/// A request to redeem a seat token.
#[derive(Debug)]
pub(super) struct TakeRequest {
    /// The verified claims of a token that a key of this hub signed.
    pub claims: Claims,
    /// The session that takes the seat over, created in the same commit.
    pub session: NewSession,
    pub response: Option<ResponseDraft>,
    /// The response stored under the idempotency key, which is then the answer.
    pub kept: Option<Claimed>,
    pub reply: RpcReplyPort<Result<Claimed, Refusal>>,
}

/// The answer to a successful claim or takeover.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub seat: HeldSeat,
    pub room: RoomView,
    /// The time at which the view was taken.
    pub at: HubTime,
    /// The user as stored, which for an account may differ from the request.
    pub user: UserView,
    /// True if this very answer is stored under the claim's idempotency key.
    pub is_kept: bool,
}

/// The row of a seat, read after all earlier writes were settled.
#[derive(Debug)]
pub(super) struct SeatRead {
    pub number: u16,
    /// The holder of the seat when the room began to doubt it.
    pub session: SessionId,
    /// None if the row is gone.
    pub row: Result<Option<StoredSeat>, ReadError>,
    /// True if the row was already gone at the first read.
    pub is_second: bool,
}

/// A change that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Claim {
        seat: u16,
    },
    Take {
        seat: u16,
        hold_until: HubTime,
    },
    Release {
        seat: u16,
        session: SessionId,
        reason: ReleaseReason,
    },
    Hold {
        /// The number of the request in its room.
        number: u64,
        seat: u16,
        session: SessionId,
        /// The length of the hold, if it was extended.
        longer: Option<Duration>,
    },
    EndTokens {
        seat: u16,
        session: SessionId,
        tokens: Generations,
    },
    Close,
    /// A batch of the publish queue.
    Publish,
    RemoveHistory {
        up_to: u64,
    },
}

impl Change {
    /// Returns whether the change also publishes a room event.
    pub(super) fn is_told(self) -> bool {
        match self {
            Change::Claim { .. }
            | Change::Take { .. }
            | Change::Release { .. }
            | Change::Hold { .. }
            | Change::Close => true,
            Change::EndTokens { .. } | Change::Publish | Change::RemoveHistory { .. } => false,
        }
    }
}

/// The purpose of a timer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wake {
    /// The hold of a seat has ended.
    Hold { seat: u16, hold_until: HubTime },
    /// The room became empty, at that vacancy count.
    Empty { vacancy: u64 },
    /// An open channel has had no members for a moment, at that vacancy count.
    Unheard { vacancy: u64 },
    /// A room that was started by a lookup may be of no use to anybody.
    Rest,
    /// Room events wait because they could not be written.
    Write,
    /// Publications in the history may have expired.
    Prune,
}

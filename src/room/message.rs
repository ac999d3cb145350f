//! Everything a room can be asked and told.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::RpcReplyPort;
use serde_json::value::RawValue;

use super::core::server_api::ServerRequest;
use super::core::session_change::RoomNews;
use super::core::shutdown::Handout;
use super::rules::events::ReleaseReason;
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
    Failure, HistoryRequest, Overrides, Refusal, RoomView, SeatView, SubscribeRequest,
    SubscribeResult, UserView,
};

pub(super) enum RoomMessage {
    Claim(Box<ClaimRequest>),
    /// Somebody has a seat token.
    Take(Box<TakeRequest>),
    /// An explicit leave. Answered once it is durable.
    Release {
        session: SessionId,
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    /// Keep an away seat for longer. Answered once it is durable.
    Hold(HoldRequest),
    /// Whoever comes back to a seat was told to wait: its hold lasts longer by that.
    Delayed {
        sitter: SeatLookup,
        by: Duration,
    },
    /// The session has a connection; answered by news.
    Back {
        session: SessionId,
        epoch: AttachSeq,
    },
    /// The session lost the connection of that epoch.
    Away {
        session: SessionId,
        epoch: AttachSeq,
    },
    /// A session has changed as a whole, and its seat here with it: that is durable already.
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
    /// The time is over for which a connection may hear the room.
    Expire {
        connection: ConnectionId,
    },
    /// What others see of a connection has changed.
    Renew {
        peer: Arc<Peer>,
    },
    Publish {
        peer: Arc<Peer>,
        data: Bytes,
        /// When the room was asked.
        since: Instant,
        publisher: Publisher,
    },
    /// A game's own server asks.
    Game(Box<ServerRequest>),
    /// Forgets what is older: the memory of all open channels' histories is scarce.
    ForgetBefore(HubTime),
    /// Forgets what the stream has kept. Answered once that is durable, if the stream is.
    RemoveHistory {
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    /// The past of a durable stream was read, or could not be.
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
    /// What the database has of a seat that it did not find as the room knows it.
    SeatRead(Box<SeatRead>),
    Wake(Wake),
    /// The room looks after what has gathered for a crowd.
    Rouse,
    /// The matchmaker has forgotten what the room has to offer.
    Offer,
    /// The shard asks whether the room can go.
    Retire,
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
    /// The hub stops: holds stand still, and no seat is taken any more.
    Pause,
    /// The hub has no clients any more: the stream is handed out, once it is settled.
    Freeze {
        reply: RpcReplyPort<Handout>,
    },
}

impl RoomMessage {
    /// Whether it may change who sits where; what is said most often does not.
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

/// Who wants a subscription to begin or to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The client, by its command of that id: the room itself queues the reply.
    ByClient { id: u32 },
    /// The hub, for the client: a server-side subscription.
    ByHub,
}

/// What somebody has a right to beside what the kind allows, by a token or because the hub wants it so.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// May subscribe whatever the kind says.
    pub is_given: bool,
    /// What others see of the member where it holds no seat.
    pub info: Option<Arc<RawValue>>,
    /// Goes with the result.
    pub data: Option<Arc<RawValue>>,
    /// What holds for this subscription in place of what the kind says.
    pub overrides: Overrides,
    /// Seconds within which the client has to refresh the subscription.
    pub ttl: Option<u32>,
}

/// Somebody wants to hear a room.
#[derive(Debug, Clone)]
pub struct Subscribing {
    pub asked: Initiator,
    pub peer: Arc<Peer>,
    pub request: SubscribeRequest,
    pub grant: Grant,
    pub outbound: Outbound,
    pub tie: SubscriptionGuard,
}

/// What a member may want to know.
#[derive(Debug, Clone)]
pub enum Question {
    Presence,
    PresenceStats,
    History(HistoryRequest),
}

/// By what somebody's seat is found.
#[derive(Debug, Clone)]
pub enum SeatLookup {
    Session(SessionId),
    /// Who sits once in a room.
    User(UserId),
}

/// Somebody wants a seat.
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
    /// Tells the session that the claim is over. None for a session that is made by this very claim.
    pub notice: Option<ClaimNotice>,
    pub memo: Option<ResponseRecorder>,
    pub reply: RpcReplyPort<Result<Claimed, Refusal>>,
}

/// An away seat is to be kept at least so long from now.
#[derive(Debug)]
pub(super) struct HoldRequest {
    pub seat: u16,
    pub at_least: Duration,
    pub memo: Option<ResponseRecorder<SeatView>>,
    pub reply: RpcReplyPort<Result<ExtendedHold, Refusal>>,
}

/// A seat that is kept.
#[derive(Debug, Clone)]
pub struct ExtendedHold {
    pub seat: SeatView,
    /// Whether this very answer is kept under the request's key.
    pub is_stored: bool,
}

/// Makes a request happen once: writes down what it will be answered with, as soon as the room knows.
pub struct ResponseRecorder<T = Claimed>(Box<WriteMemo<T>>);

type WriteMemo<T> = dyn FnOnce(&T) -> Arc<IdempotencyRecord> + Send + Sync;

impl<T> ResponseRecorder<T> {
    pub fn new(
        write: impl FnOnce(&T) -> Arc<IdempotencyRecord> + Send + Sync + 'static,
    ) -> ResponseRecorder<T> {
        ResponseRecorder(Box::new(write))
    }

    pub(super) fn write(self, answer: &T) -> Arc<IdempotencyRecord> {
        (self.0)(answer)
    }
}

impl<T> fmt::Debug for ResponseRecorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

/// Somebody comes back with a seat token.
#[derive(Debug)]
pub(super) struct TakeRequest {
    /// As a key of this hub signed them.
    pub claims: Claims,
    /// The session that the seat is for, made in the same commit.
    pub session: NewSession,
    pub memo: Option<ResponseRecorder>,
    /// What is kept under the request's key: its answer then.
    pub kept: Option<Claimed>,
    pub reply: RpcReplyPort<Result<Claimed, Refusal>>,
}

/// A claim that was met, or a token that was good.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub seat: HeldSeat,
    pub room: RoomView,
    /// When this is how it looks.
    pub at: HubTime,
    /// As stored, which for an account may differ from what was asked.
    pub user: UserView,
    /// Whether this very answer is kept under the claim's key.
    pub is_kept: bool,
}

/// The row of a seat, once everything that was written before is settled.
#[derive(Debug)]
pub(super) struct SeatRead {
    pub number: u16,
    /// Whose the seat was when the room began to doubt.
    pub session: SessionId,
    /// None if the row is gone.
    pub row: Result<Option<StoredSeat>, ReadError>,
    /// Whether the row was gone before, when it was read for the first time.
    pub is_second: bool,
}

/// What is being written.
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
        reason: ReleaseReason,
    },
    Hold {
        seat: u16,
        session: SessionId,
        /// How long it lasts, if that is longer than before.
        longer: Option<Duration>,
    },
    EndTokens {
        seat: u16,
        session: SessionId,
        tokens: Generations,
    },
    Close,
    /// A batch of the journal.
    Publish,
    RemoveHistory {
        up_to: u64,
    },
}

impl Change {
    /// Whether everybody hears of it.
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

/// What a deadline was for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wake {
    /// The hold of a seat is over.
    Hold { seat: u16, hold_until: HubTime },
    /// The room was left empty, that many vacancies ago.
    Empty { vacancy: u64 },
    /// Nobody has listened to an open channel for a moment, that many vacancies ago.
    Unheard { vacancy: u64 },
    /// A room that was looked up, and may have been of no use to whoever did.
    Rest,
    /// News wait that could not be written.
    Write,
    /// Something that the stream keeps may be too old.
    Prune,
}

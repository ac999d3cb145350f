//! The only way into a room from the rest of the crate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::ActorRef;

use super::core::seat::session_change::RoomNews;
use super::message::{
    ClaimRequest, Claimed, ExtendedHold, HoldRequest, Initiator, Question, RoomMessage, SeatLookup,
    Subscribing, TakeRequest,
};
use super::response::ResponseDraft;
use super::rules::members::Peer;
use super::rules::publish_queue::Publisher;
use super::seat_event::{AttachSeq, ClaimNotice};
use crate::delivery::Outbound;
use crate::id::{ConnectionId, RoomCode, RoomId, SessionId};
use crate::mailbox::{Unanswered, ask};
use crate::persistence::{IdempotencyRecord, NewSession, SessionWrite, StoredStream, UserWrite};
use crate::supervisor::LoadError;
use crate::token::Claims;
use crate::wire::{Failure, Refusal, RoomView, SubscribeResult, UserView};

/// The key by which a room is found: its code, or the channel's name for an open channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoomKey {
    Code(RoomCode),
    Channel(Arc<str>),
}

/// One live room. Cheap to clone. After [`Unanswered::Stopped`], look the room up again and ask once more: it may
/// have been retired or rebuilt.
#[derive(Clone)]
pub struct RoomHandle {
    pub(super) actor: ActorRef<RoomMessage>,
    channel: Arc<str>,
    audience: MemberCount,
}

/// The number of a room's members. Only the room sets it; others read it without asking the room.
#[derive(Debug, Clone, Default)]
pub(super) struct MemberCount(Arc<AtomicUsize>);

impl MemberCount {
    pub(super) fn set(&self, members: usize) {
        self.0.store(members, Ordering::Relaxed);
    }
}

/// The data of a claim.
#[derive(Debug)]
pub struct Claimant {
    pub session: SessionId,
    pub user: UserView,
    pub user_write: UserWrite,
    pub session_write: SessionWrite,
    pub epoch: AttachSeq,
    pub is_attached: bool,
    pub notice: Option<ClaimNotice>,
    pub response: Option<ResponseDraft>,
}

impl RoomHandle {
    pub(super) fn new(
        actor: ActorRef<RoomMessage>,
        channel: Arc<str>,
        audience: MemberCount,
    ) -> RoomHandle {
        RoomHandle {
            actor,
            channel,
            audience,
        }
    }

    /// Returns the number of members a moment ago.
    pub(super) fn audience(&self) -> usize {
        self.audience.0.load(Ordering::Relaxed)
    }

    /// Returns the channel that the room publishes on.
    pub fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    /// Claims a seat. The answer follows the commit.
    pub async fn claim(
        &self,
        claimant: Claimant,
        seat: Option<u16>,
        team: Option<String>,
    ) -> Result<Result<Claimed, Refusal>, Unanswered> {
        ask(&self.actor, |reply| {
            RoomMessage::Claim(Box::new(ClaimRequest {
                session: claimant.session,
                user: claimant.user,
                user_write: claimant.user_write,
                session_write: claimant.session_write,
                epoch: claimant.epoch,
                is_attached: claimant.is_attached,
                seat,
                team,
                notice: claimant.notice,
                response: claimant.response,
                reply,
            }))
        })
        .await
    }

    /// Redeems a seat token: puts a new session into its seat. The answer follows the commit.
    pub async fn take(
        &self,
        claims: Claims,
        session: NewSession,
        response: Option<ResponseDraft>,
    ) -> Result<Result<Claimed, Refusal>, Unanswered> {
        ask(&self.actor, |reply| {
            RoomMessage::Take(Box::new(TakeRequest {
                claims,
                session,
                response,
                kept: None,
                reply,
            }))
        })
        .await
    }

    /// Releases a seat. The answer follows the commit.
    pub async fn release(
        &self,
        session: SessionId,
        once: Option<Arc<IdempotencyRecord>>,
    ) -> Result<Result<(), Refusal>, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::Release {
            session,
            once,
            reply,
        })
        .await
    }

    /// Keeps an away seat for at least this time from now; a held one is left as it is. The
    /// answer follows the commit.
    pub async fn hold(
        &self,
        seat: u16,
        at_least: Duration,
        key: Option<Arc<IdempotencyRecord>>,
    ) -> Result<Result<ExtendedHold, Refusal>, Unanswered> {
        ask(&self.actor, |reply| {
            RoomMessage::Hold(HoldRequest {
                seat,
                at_least,
                key,
                reply,
            })
        })
        .await
    }

    /// Notifies the room that a player who returns to a seat was asked to wait.
    pub fn delayed(&self, sitter: SeatLookup, by: Duration) {
        self.tell(RoomMessage::Delayed { sitter, by });
    }

    /// Notifies the room that a session has a connection.
    pub fn back(&self, session: SessionId, epoch: AttachSeq) {
        self.tell(RoomMessage::Back { session, epoch });
    }

    /// Notifies the room that a session lost the connection with that attach sequence.
    pub fn away(&self, session: SessionId, epoch: AttachSeq) {
        self.tell(RoomMessage::Away { session, epoch });
    }

    /// Notifies the room of a durable change of a session, and of its seat with it.
    pub(super) fn session_changed(&self, news: RoomNews) {
        self.tell(RoomMessage::SessionChanged(Box::new(news)));
    }

    /// Subscribes a connection. The room queues the result itself if it was the client's command, and returns it
    /// otherwise. The caller queues an error.
    pub async fn subscribe(
        &self,
        subscribing: Subscribing,
    ) -> Result<Result<Option<SubscribeResult>, Failure>, Unanswered> {
        let subscribing = Box::new(subscribing);
        ask(&self.actor, |reply| RoomMessage::Subscribe {
            subscribing,
            reply,
        })
        .await
    }

    /// Unsubscribes a connection. The room itself notifies the client: by a reply to its
    /// command, otherwise by a push.
    pub async fn unsubscribe(
        &self,
        asked: Initiator,
        connection: ConnectionId,
        outbound: Outbound,
    ) -> Result<(), Unanswered> {
        ask(&self.actor, |reply| RoomMessage::Unsubscribe {
            asked,
            connection,
            outbound,
            reply,
        })
        .await
    }

    /// Notifies the room that a connection is gone.
    pub fn leave(&self, connection: ConnectionId) {
        self.tell(RoomMessage::Leave { connection });
    }

    /// Notifies the room that a connection's subscription has expired. The room notifies the client.
    pub fn expire(&self, connection: ConnectionId) {
        self.tell(RoomMessage::Expire { connection });
    }

    /// Replaces the client info that others see of a connection.
    pub fn renew(&self, peer: Arc<Peer>) {
        self.tell(RoomMessage::Renew { peer });
    }

    /// Publishes. When this returns, the publication is queued for every member, and committed if the stream is
    /// durable. The room itself queues the reply to command `id`, unless it refuses.
    pub async fn publish(
        &self,
        id: u32,
        peer: Arc<Peer>,
        data: Bytes,
        outbound: Outbound,
    ) -> Result<Result<(), Failure>, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::Publish {
            peer,
            data,
            since: Instant::now(),
            publisher: Publisher::Client {
                id,
                outbound,
                reply,
            },
        })
        .await
    }

    /// Asks about the room. The room queues the reply to command `id` itself.
    pub async fn question(
        &self,
        id: u32,
        peer: Arc<Peer>,
        question: Question,
        outbound: Outbound,
    ) -> Result<Result<(), Failure>, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::Ask {
            id,
            peer,
            question,
            outbound,
            reply,
        })
        .await
    }

    /// Removes the history of the room's stream; its epoch and top stay. For a durable stream, the removal is
    /// committed when this returns.
    pub async fn remove_history(&self) -> Result<Result<(), Failure>, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::RemoveHistory { reply }).await
    }

    /// Returns the public view of the room.
    pub async fn view(&self) -> Result<RoomView, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::View { reply }).await
    }

    /// Freezes the room's timers before a planned stop; its members play on.
    pub(super) fn pause(&self) {
        self.tell(RoomMessage::Pause);
    }

    /// Takes the room's stream at the end of a planned stop. The room refuses all changes to it from then on.
    pub(super) async fn freeze(&self) -> Result<Option<(RoomId, StoredStream)>, Unanswered> {
        ask(&self.actor, |reply| RoomMessage::Freeze { reply }).await
    }

    /// Sends a message that may be lost: a room that has stopped gets a successor, which reads
    /// the state from the database.
    pub(super) fn tell(&self, message: RoomMessage) {
        let _ = self.actor.cast(message);
    }
}

impl fmt::Debug for RoomHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomHandle({})", self.channel)
    }
}

/// Returns UNAVAILABLE for an actor that cannot be started or reached, or INTERNAL if that does not pass.
pub fn load_refusal(error: impl Into<LoadError>) -> Refusal {
    match error.into() {
        LoadError::Unavailable => Refusal::unavailable(),
        LoadError::Failed => Refusal::internal(),
    }
}

//! The handle of a live session: the only access to it from the rest of the crate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{ActorRef, MessagingErr};

use super::actor::adoption::Adoption;
use super::actor::login_end::LoginEnd;
use super::message::{Attached, ClaimTicket, Report, SessionMessage};
use super::registry::SessionSeed;
use crate::clock::HubTime;
use crate::delivery::Outbound;
use crate::id::{RoomCode, SessionId, TokenHash};
use crate::mailbox::{Unanswered, ask};
use crate::persistence::IdempotencyRecord;
use crate::room::{AttachSeq, SeatEvent};
use crate::wire::{Frame, Refusal, UserView};

/// The order in which connects began, over the whole process. A connect may be delayed before it reaches its session;
/// so a client's abandoned attempt, arriving late, must not replace its newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ConnectOrder(u64);

impl ConnectOrder {
    /// Returns the order of a connect that begins now.
    pub fn next() -> ConnectOrder {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ConnectOrder(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A handle of one live session. Cheap to clone.
#[derive(Clone)]
pub struct SessionHandle {
    known: Arc<Known>,
    actor: ActorRef<SessionMessage>,
}

/// The part of a session that its handles read without asking: constant while it is live, except the end of its login.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: SessionId,
    pub(super) user: UserView,
    pub(super) tokens: Vec<TokenHash>,
    pub(super) login: LoginEnd,
}

impl SessionHandle {
    pub(super) fn new(known: Arc<Known>, actor: ActorRef<SessionMessage>) -> SessionHandle {
        SessionHandle { known, actor }
    }

    pub fn id(&self) -> SessionId {
        self.known.id
    }

    pub fn user(&self) -> &UserView {
        &self.known.user
    }

    /// Returns the end of the session's login. `None`: the session has no login, or its login has no end.
    pub fn login_until(&self) -> Option<HubTime> {
        self.known.login.get()
    }

    /// Moves the end of the session's login.
    pub(crate) fn logged_in(&self, until: Option<HubTime>) {
        self.tell(SessionMessage::LoggedIn { until });
    }

    pub(super) fn tokens(&self) -> &[TokenHash] {
        &self.known.tokens
    }

    /// Attaches a connection. It replaces one that is attached already.
    pub async fn attach(
        &self,
        outbound: Outbound,
        order: ConnectOrder,
    ) -> Result<Result<Attached, Refusal>, Unanswered> {
        ask(&self.actor, |reply| SessionMessage::Attach {
            outbound,
            order,
            reply,
        })
        .await
    }

    pub(crate) async fn begin_claim(
        &self,
        code: Option<RoomCode>,
    ) -> Result<Result<ClaimTicket, Refusal>, Unanswered> {
        ask(&self.actor, |reply| SessionMessage::BeginClaim {
            code,
            reply,
        })
        .await
    }

    pub(crate) async fn report(&self) -> Result<Report, Unanswered> {
        ask(&self.actor, |reply| SessionMessage::Report { reply }).await
    }

    pub(crate) async fn end(
        &self,
        last_words: Option<Frame>,
        once: Option<Arc<IdempotencyRecord>>,
    ) -> Result<Result<(), Refusal>, Unanswered> {
        ask(&self.actor, |reply| SessionMessage::End {
            last_words,
            once,
            reply,
        })
        .await
    }

    pub(crate) async fn adopt(
        &self,
        adoption: Adoption,
    ) -> Result<Result<Box<SessionSeed>, Refusal>, Unanswered> {
        let adoption = Box::new(adoption);
        ask(&self.actor, |reply| SessionMessage::Adopt {
            adoption,
            reply,
        })
        .await
    }

    /// Has the session ask its rooms for the current state of its seats, since it may have missed events.
    pub(crate) fn catch_up(&self) {
        self.tell(SessionMessage::CatchUp);
    }

    /// Extends the session's holds by the time that the hub makes its client wait.
    pub fn delayed(&self, by: Duration) {
        self.tell(SessionMessage::Delayed { by });
    }

    /// Delivers a seat event, or returns it if the session has stopped. A retired session passes the event on to its
    /// shard.
    pub(super) fn hear(&self, news: SeatEvent) -> Option<SeatEvent> {
        match self.actor.cast(SessionMessage::Seat(news)) {
            Err(MessagingErr::SendErr(SessionMessage::Seat(news))) => Some(news),
            Ok(()) | Err(_) => None,
        }
    }

    /// Sends a message that may be lost: if the session has stopped, its successor reads the state again.
    pub(super) fn tell(&self, message: SessionMessage) {
        let _ = self.actor.cast(message);
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHandle({})", self.known.id)
    }
}

/// A connection's hold on its session: makes the session away when dropped.
pub struct Attachment {
    pub epoch: AttachSeq,
    session: ActorRef<SessionMessage>,
}

impl Attachment {
    pub(super) fn new(epoch: AttachSeq, session: ActorRef<SessionMessage>) -> Attachment {
        Attachment { epoch, session }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let epoch = self.epoch;
        // On an error the session has failed, and its successor is away from the start.
        let _ = self.session.cast(SessionMessage::Detached { epoch });
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({:?})", self.epoch)
    }
}

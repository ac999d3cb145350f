//! The registry of live sessions: lookup, start and retirement, and the context that all sessions share.
//!
//! Rooms reach sessions through [`SeatEventRouter`]. An event for a session that is no longer live goes to its shard, or
//! starts the session again if its room believes it attached.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, SpawnErr};

use super::actor::SessionActor;
use super::actor::login_end::LoginEnd;
use super::directory::SessionDirectory;
use super::dormant::Dormant;
use super::ended_lately::EndedLately;
use super::handle::{Known, SessionHandle};
use super::message::SessionMessage;
use super::metric::SessionMetrics;
use crate::clock::{HubClock, HubTime};
use crate::config::Config;
use crate::id::{SessionId, TokenHash, UserId};
use crate::mailbox::Unanswered;
use crate::persistence::{Persistence, StoredSeat, StoredSession};
use crate::room::{HeldSeat, Rooms, SeatEvent, SeatListener, channel};
use crate::supervisor::{ActorFactory, LoadError, ShardHandle, ShardMessage, Wheels};
use crate::token::Keyring;
use crate::wire::UserView;

/// Maximum number of a user's live sessions that one request looks at: more than a person has devices.
const OF_USER_MAX: usize = 64;

/// The state and the handles that all sessions share.
pub(super) struct SessionContext {
    pub(super) clock: HubClock,
    pub(super) ttl: Duration,
    /// Maximum number of seats per user; 0 for no limit.
    pub(super) seats_max: usize,
    /// True if a user that the game names is created when missing.
    pub(super) creates_users: bool,
    pub(super) persistence: Persistence,
    pub(super) rooms: Rooms,
    pub(super) shards: ShardHandle<SessionBrood>,
    pub(super) wheels: Wheels<SessionId>,
    /// Wakes sessions whose seat tokens are at half their life.
    pub(super) renewals: Wheels<SessionId>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) metrics: SessionMetrics,
    pub(super) dormant: Dormant,
    pub(super) ended_lately: EndedLately,
    notices: SeatEventRouter,
    is_stopping: AtomicBool,
}

/// Delivers seat events from rooms to sessions. Created before both registries, since each needs the other.
#[derive(Clone)]
pub struct SeatEventRouter {
    directory: Arc<SessionDirectory>,
    shards: ShardHandle<SessionBrood>,
}

impl SeatEventRouter {
    /// Handles an event for a session that is not live.
    fn missed(&self, key: SessionId, news: SeatEvent) {
        if news.is_of_attached() {
            self.bring_back(key, news);
        } else {
            self.shards
                .of(&key)
                .tell(ShardMessage::Missed { key, news });
        }
    }

    /// Restarts a session that failed while it claimed a seat; otherwise its room would keep it attached for ever.
    fn bring_back(&self, session: SessionId, news: SeatEvent) {
        let shards = self.shards.clone();
        tokio::spawn(async move {
            // If it cannot be read now, it is restarted later and reads its seats then.
            if let Ok(Some(session)) = shards.rebuild(&session).await {
                // If it has failed again, its next start reads its seats again.
                let _ = session.hear(news);
            }
        });
    }
}

impl Default for SeatEventRouter {
    fn default() -> SeatEventRouter {
        SeatEventRouter {
            directory: Arc::default(),
            shards: ShardHandle::vacant(),
        }
    }
}

impl SeatListener for SeatEventRouter {
    fn hear(&self, session: SessionId, news: SeatEvent) {
        let untold = match self.directory.get(session) {
            Some(session) => session.hear(news),
            None => Some(news),
        };
        if let Some(news) = untold {
            self.missed(session, news);
        }
    }
}

impl fmt::Debug for SeatEventRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeatEventRouter")
    }
}

/// All sessions of this node. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<SessionContext>);

/// The data that a session is started from.
#[derive(Debug)]
pub(crate) struct SessionSeed {
    pub(crate) id: SessionId,
    pub(crate) user: UserView,
    pub(crate) tokens: Vec<TokenHash>,
    pub(crate) expires_at: HubTime,
    pub(crate) login_until: Option<HubTime>,
    pub(crate) seats: Vec<HeldSeat>,
    /// True if the session was live before, and failed.
    pub(crate) is_rebuilt: bool,
}

impl Sessions {
    pub fn new(
        config: &Config,
        clock: HubClock,
        persistence: Persistence,
        rooms: Rooms,
        notices: SeatEventRouter,
        keyring: Arc<Keyring>,
    ) -> Sessions {
        let wheels = |message: fn() -> SessionMessage| {
            let directory = Arc::clone(&notices.directory);
            Wheels::start(move |id| {
                if let Some(session) = directory.get(id) {
                    session.tell(message());
                }
            })
        };
        Sessions(Arc::new(SessionContext {
            clock,
            ttl: config.session.ttl,
            seats_max: config.session.seats_max,
            creates_users: config.auth.create_users,
            persistence,
            rooms,
            shards: notices.shards.clone(),
            wheels: wheels(|| SessionMessage::Wake),
            renewals: wheels(|| SessionMessage::Renew),
            keyring,
            metrics: SessionMetrics::new(),
            dormant: Dormant::new(),
            ended_lately: EndedLately::default(),
            notices,
            is_stopping: AtomicBool::new(false),
        }))
    }

    /// Starts the supervisor of one shard, with the sessions that it had before.
    pub async fn start_shard(&self, index: usize, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        self.0.shards.start_shard(self.brood(), index, hub).await
    }

    /// Starts sessions as they were before the hub was restarted. Returns the sessions whose rows may have changed
    /// since they were read: resolve those one by one.
    pub async fn restore(
        &self,
        sessions: Vec<StoredSession>,
    ) -> Result<Vec<SessionId>, Unanswered> {
        let seeds = sessions.into_iter().map(SessionSeed::from);
        self.0
            .shards
            .restore(seeds.map(|seed| (seed.id, seed)))
            .await
    }

    /// Ends the restore: all sessions with a seat are live. From here on a session is started only from a row that its
    /// own shard has read.
    pub fn restored(&self) {
        self.0.shards.restored();
        self.0.dormant.end();
    }

    /// Starts a session from its row, unless it is live.
    pub async fn wake(&self, id: SessionId) -> Result<(), LoadError> {
        self.resolve(id).await.map(drop)
    }

    /// Returns true if a session is live on this node: it is in use or holds a seat.
    pub fn is_live(&self, id: SessionId) -> bool {
        self.0.notices.directory.get(id).is_some()
    }

    /// Returns true if every shard has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.0.shards.is_whole()
    }

    /// Begins a planned stop: from here on a closed connection makes no seat away, and nothing new is started.
    pub fn set_stopping(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }

    /// Makes a session panic. Returns false if it is not live.
    #[cfg(feature = "faults")]
    pub fn panic(&self, id: SessionId) -> bool {
        let session = self.0.notices.directory.get(id);
        let is_live = session.is_some();
        if let Some(session) = session {
            session.tell(SessionMessage::Panic);
        }
        is_live
    }

    /// Makes the supervisor of a session's shard panic.
    #[cfg(feature = "faults")]
    pub fn panic_supervisor(&self, id: SessionId) -> bool {
        self.0.shards.of(&id).tell(ShardMessage::Panic);
        true
    }

    /// Returns the clock that session lifetimes are measured by.
    pub fn clock(&self) -> HubClock {
        self.0.clock
    }

    /// Returns the life of a session after its last use.
    pub fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Returns true if a user that the game names is created when missing.
    pub fn creates_users(&self) -> bool {
        self.0.creates_users
    }

    /// Returns true if the hub is stopping, so that nothing new is started.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// Delivers an event of a seat to its session.
    pub fn hear(&self, session: SessionId, news: SeatEvent) {
        self.0.notices.hear(session, news);
    }

    pub(super) fn context(&self) -> &SessionContext {
        &self.0
    }

    pub(super) fn brood(&self) -> SessionBrood {
        SessionBrood(Arc::clone(&self.0))
    }

    pub(crate) fn live_by_id(&self, id: SessionId) -> Option<SessionHandle> {
        self.0.notices.directory.get(id)
    }

    /// Finds a live session by the hash of one of its tokens.
    pub(crate) fn live_by_token(&self, hash: TokenHash) -> Option<SessionHandle> {
        self.0.notices.directory.by_token(hash)
    }

    /// Returns the live sessions of a user, newest first, and at most `OF_USER_MAX`.
    pub(crate) fn live_of_user(&self, user: &UserId) -> impl Iterator<Item = SessionHandle> {
        let live = self.0.notices.directory.of_user(user);
        live.into_iter().take(OF_USER_MAX)
    }

    /// Returns all live sessions of a user.
    pub(super) fn all_live_of_user(&self, user: &UserId) -> Vec<SessionHandle> {
        self.0.notices.directory.of_user(user)
    }

    pub(crate) async fn start(&self, seed: SessionSeed) -> Result<SessionHandle, LoadError> {
        let id = seed.id;
        self.0
            .shards
            .start(&id, seed)
            .await?
            .ok_or(LoadError::Unavailable)
    }

    /// Returns a live session, or starts it from its row.
    pub(crate) async fn resolve(&self, id: SessionId) -> Result<Option<SessionHandle>, LoadError> {
        self.0.shards.resolve(&id).await
    }

    /// Asks a session. If it has stopped in the meantime, starts it again and asks once more, unless it now belongs to
    /// another user.
    pub(crate) async fn ask<T, F>(
        &self,
        session: &SessionHandle,
        question: impl Fn(SessionHandle) -> F,
    ) -> Result<T, LoadError>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        match question(session.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Busy) => return Err(LoadError::Unavailable),
            Err(Unanswered::Stopped) => {}
        }
        let successor = self.0.shards.resolve(&session.id()).await?;
        let successor = successor.filter(|successor| successor.user().id == session.user().id);
        question(successor.ok_or(LoadError::Unavailable)?)
            .await
            .map_err(|_| LoadError::Unavailable)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl SessionContext {
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Handles a seat event that a retired session received.
    pub(super) fn missed(&self, session: SessionId, news: SeatEvent) {
        self.notices.missed(session, news);
    }

    #[cfg(test)]
    pub(super) fn listener(&self) -> Arc<dyn SeatListener> {
        Arc::new(self.notices.clone())
    }
}

impl From<StoredSession> for SessionSeed {
    fn from(stored: StoredSession) -> SessionSeed {
        SessionSeed {
            id: stored.id,
            user: UserView {
                id: stored.user,
                name: stored.user_name,
            },
            tokens: stored.tokens,
            expires_at: stored.expires_at,
            login_until: stored.login_until,
            seats: stored.seats.into_iter().map(holding).collect(),
            is_rebuilt: false,
        }
    }
}

fn holding(stored: StoredSeat) -> HeldSeat {
    HeldSeat {
        room: stored.room,
        code: stored.code,
        channel: channel(&stored.kind, stored.code),
        number: stored.number,
        team: stored.team,
        grace: stored.grace,
        hold_until: stored.hold_until,
        tokens: stored.tokens,
    }
}

/// The factory of session actors.
#[derive(Clone)]
pub(super) struct SessionBrood(Arc<SessionContext>);

impl ActorFactory for SessionBrood {
    type Key = SessionId;
    type Handle = SessionHandle;
    type Seed = SessionSeed;
    type News = SeatEvent;

    const KIND: &'static str = "session";

    async fn spawn(
        &self,
        seed: SessionSeed,
        shard: ActorCell,
    ) -> Result<(SessionHandle, ActorCell), SpawnErr> {
        let known = Arc::new(Known {
            id: seed.id,
            user: seed.user.clone(),
            tokens: seed.tokens.clone(),
            login: LoginEnd::new(seed.login_until),
        });
        let arguments = (Arc::clone(&self.0), Arc::clone(&known), seed);
        let (actor, _) = Actor::spawn_linked(None, SessionActor, arguments, shard).await?;
        let cell = actor.get_cell();
        Ok((SessionHandle::new(known, actor), cell))
    }

    async fn load(
        &self,
        id: SessionId,
        is_rebuild: bool,
    ) -> Result<Option<SessionSeed>, LoadError> {
        let stored = if is_rebuild {
            self.0.persistence.session_truth(id).await
        } else {
            self.0.persistence.session_by_id(id).await
        };
        // After a failure only a session that holds a seat must be live.
        let is_needed =
            |stored: &StoredSession| !stored.is_ended && (!is_rebuild || !stored.seats.is_empty());
        Ok(stored?.filter(is_needed).map(|stored| SessionSeed {
            is_rebuilt: is_rebuild,
            ..SessionSeed::from(stored)
        }))
    }

    fn enter(&self, id: &SessionId, session: &SessionHandle) {
        self.0.notices.directory.enter(session);
        self.0.dormant.wake(*id);
        if self.0.ended_lately.has(*id) {
            session.tell(SessionMessage::Ended);
        }
    }

    fn leave(&self, id: &SessionId) {
        self.0.notices.directory.leave(*id);
    }

    fn leave_all(&self, shard: usize) -> Vec<SessionId> {
        self.0.notices.directory.leave_all(shard)
    }

    /// Delivers a late event, and has the session ask its rooms for the current state of its seats.
    fn hear(&self, session: &SessionHandle, news: SeatEvent) {
        // A session that has failed reads its seats when it is restarted.
        let _ = session.hear(news);
        session.tell(SessionMessage::CatchUp);
    }

    fn let_go(&self, session: &SessionHandle) {
        session.tell(SessionMessage::Retire);
    }
}

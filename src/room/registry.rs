//! The registry of live rooms: how rooms are found, started and stopped, and what they all share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use ractor::{Actor, ActorCell, SpawnErr};
use tokio::sync::Semaphore;

use super::actor::RoomActor;
use super::core::seat::session_change::{RoomNews, SessionTold};
use super::directory::RoomDirectory;
use super::dormant::Dormant;
use super::handle::{MemberCount, RoomHandle, RoomKey};
use super::history_memory::HistoryMemory;
use super::message::{RoomMessage, Wake};
use super::metric::RoomMetrics;
use super::rules::kind::{Kind, Kinds};
use super::seat_event::{AttachSeq, SeatListener};
use super::server_api::UNHEARD_MAX;
use crate::clock::HubClock;
use crate::config::Config;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::mailbox::Unanswered;
use crate::matchmaking::Matchmaker;
use crate::persistence::{Persistence, StoredRoom, StoredStream};
use crate::supervisor::{ActorFactory, LoadError, ShardHandle, ShardMessage, Wheels};
use crate::wire::UserView;

/// The number of rooms that are asked for their streams at one time at a stop.
const FREEZE_CONCURRENCY_MAX: usize = 64;

/// The state that all rooms of a node share.
pub(super) struct RoomContext {
    pub(super) clock: HubClock,
    pub(super) kinds: Kinds,
    pub(super) persistence: Persistence,
    pub(super) matchmaker: Matchmaker,
    pub(super) listener: Arc<dyn SeatListener>,
    pub(super) shards: ShardHandle<RoomBrood>,
    pub(super) wheels: Wheels<(RoomKey, Wake)>,
    pub(super) recovery_max: usize,
    pub(super) metrics: Arc<RoomMetrics>,
    /// One permit for each open channel that lives on without members.
    pub(super) unheard: Arc<Semaphore>,
    pub(super) dormant: Dormant,
    /// The memory for the histories of all open channels.
    pub(super) history: HistoryMemory,
    directory: Arc<RoomDirectory>,
    is_paused: AtomicBool,
}

/// All rooms of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<RoomContext>);

/// The data from which a room is started.
pub(super) struct RoomSeed {
    pub(super) key: RoomKey,
    pub(super) channel: Arc<str>,
    pub(super) kind: Arc<Kind>,
    /// None for an open channel.
    pub(super) stored: Option<StoredRoom>,
    pub(super) origin: Origin,
}

/// The origin of a room's data, which decides how far its seats can be trusted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Just opened; its player was attached under this attach sequence, or is away.
    Opened(AttachSeq),
    /// Read from the database: nobody is connected yet.
    Stored,
    /// Read after a failure: sessions may be attached and have to confirm it.
    Rebuilt,
}

impl Rooms {
    pub fn new(
        config: &Config,
        clock: HubClock,
        persistence: Persistence,
        matchmaker: Matchmaker,
        listener: Arc<dyn SeatListener>,
    ) -> Rooms {
        let directory = Arc::new(RoomDirectory::default());
        let woken = Arc::clone(&directory);
        let wheels = Wheels::start(move |(key, wake)| {
            if let Some(room) = woken.get(&key) {
                room.tell(RoomMessage::Wake(wake));
            }
        });
        Rooms(Arc::new(RoomContext {
            clock,
            kinds: Kinds::new(&config.kind),
            persistence,
            matchmaker,
            listener,
            shards: ShardHandle::vacant(),
            wheels,
            recovery_max: config.client.recovery_max,
            metrics: Arc::new(RoomMetrics::new()),
            unheard: Arc::new(Semaphore::new(UNHEARD_MAX)),
            dormant: Dormant::new(),
            history: HistoryMemory::new(config.history.memory_max),
            directory,
            is_paused: AtomicBool::new(false),
        }))
    }

    pub(super) fn context(&self) -> &RoomContext {
        &self.0
    }

    pub fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    /// Starts the supervisor of one shard of the rooms, with the rooms that it had before.
    pub async fn start_shard(&self, index: usize, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        let brood = RoomBrood(Arc::clone(&self.0));
        self.0.shards.start_shard(brood, index, hub).await
    }

    /// Returns all live rooms.
    pub(super) fn all(&self) -> Vec<RoomHandle> {
        self.0.directory.all()
    }

    /// Returns a room if it is live.
    pub fn live(&self, key: &RoomKey) -> Option<RoomHandle> {
        self.0.directory.get(key)
    }

    /// Finds a room, or starts it from its row. Returns None if there is none.
    pub async fn find(&self, key: &RoomKey) -> Result<Option<RoomHandle>, LoadError> {
        match self.live(key) {
            Some(room) => Ok(Some(room)),
            None => self.look_again(key).await,
        }
    }

    /// Finds a room without the directory, after the one found there did not answer.
    pub async fn look_again(&self, key: &RoomKey) -> Result<Option<RoomHandle>, LoadError> {
        self.0.shards.resolve(key).await
    }

    /// Restores a room whose opening has an unknown outcome. If it was committed, it comes back, even if that
    /// becomes known only later.
    pub async fn rebuild(&self, key: &RoomKey) -> Result<Option<RoomHandle>, LoadError> {
        self.0.shards.rebuild(key).await
    }

    /// Asks a room; if it has stopped, looks it up again and asks once more.
    pub async fn ask<T, F>(
        &self,
        key: &RoomKey,
        question: impl Fn(RoomHandle) -> F,
    ) -> Result<Option<T>, LoadError>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let Some(room) = self.find(key).await? else {
            return Ok(None);
        };
        match question(room).await {
            Ok(found) => return Ok(Some(found)),
            Err(Unanswered::Busy) => return Err(LoadError::Unavailable),
            Err(Unanswered::Stopped) => {}
        }
        match self.look_again(key).await? {
            Some(room) => question(room)
                .await
                .map(Some)
                .map_err(|_| LoadError::Unavailable),
            None => Ok(None),
        }
    }

    /// Starts a room that has just been committed.
    pub async fn start_opened(
        &self,
        kind: &Arc<Kind>,
        stored: StoredRoom,
        epoch: AttachSeq,
    ) -> Result<RoomHandle, LoadError> {
        let seed = RoomSeed::seated(Arc::clone(kind), stored, Origin::Opened(epoch));
        let key = seed.key.clone();
        self.0
            .shards
            .start(&key, seed)
            .await?
            .ok_or(LoadError::Unavailable)
    }

    /// Starts rooms as they were before the hub was restarted. Returns those whose rows may have changed since they
    /// were read: find them one by one.
    pub async fn restore(&self, rooms: Vec<StoredRoom>) -> Result<Vec<RoomKey>, Unanswered> {
        let seeds = rooms.into_iter().filter_map(|stored| {
            let seed = self.0.seed(stored, Origin::Stored)?;
            Some((seed.key.clone(), seed))
        });
        self.0.shards.restore(seeds).await
    }

    /// Ends the restore, after which all rooms with held seats are live: no shard starts a room from rows that
    /// were read for the restore.
    pub fn restored(&self) {
        self.0.shards.restored();
        self.0.dormant.end();
    }

    /// Notifies a room that a session has ended, durably, and that its seat there is released.
    pub fn vacated(&self, code: RoomCode, session: SessionId, told: SessionTold) {
        self.tell_of_session(code, RoomNews::Vacated { session, told });
    }

    /// Notifies a room that a session now belongs to another user, durably, and its seat there with it.
    pub fn adopted(&self, code: RoomCode, session: SessionId, user: UserView, told: SessionTold) {
        let news = RoomNews::Adopted {
            session,
            user,
            told,
        };
        self.tell_of_session(code, news);
    }

    /// Notifies a room, or the shard if it is not live: a room that is being started may have read its seats before.
    fn tell_of_session(&self, code: RoomCode, news: RoomNews) {
        let key = RoomKey::Code(code);
        match self.live(&key) {
            Some(room) => room.session_changed(news),
            None => {
                let missed = ShardMessage::Missed {
                    key: key.clone(),
                    news,
                };
                self.0.shards.of(&key).tell(missed);
            }
        }
    }

    /// Freezes the timers of all rooms before a planned stop, also of rooms that start later. Holds stop running and
    /// no seat can be claimed; members play on.
    pub fn pause(&self) {
        self.0.is_paused.store(true, Ordering::SeqCst);
        for room in self.0.directory.all() {
            room.pause();
        }
    }

    /// Returns whether every shard of the rooms has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.0.shards.is_whole()
    }

    /// Takes the streams of all rooms, at the end of a planned stop. A room that does not answer is left out, and its
    /// stream begins under a new epoch. All remaining rooms are left out when no room has answered for `within`.
    pub async fn freeze(&self, within: Duration) -> Vec<(RoomId, StoredStream)> {
        let mut answers = stream::iter(self.0.directory.all())
            .map(|room| async move { room.freeze().await.ok().flatten() })
            .buffer_unordered(FREEZE_CONCURRENCY_MAX);
        let mut streams = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout(within, answers.next()).await {
            streams.extend(answer);
        }
        streams
    }

    /// Makes a room fail, for tests.
    #[cfg(feature = "faults")]
    pub fn panic(&self, key: &RoomKey) -> bool {
        let room = self.live(key);
        let is_live = room.is_some();
        if let Some(room) = room {
            room.tell(RoomMessage::Panic);
        }
        is_live
    }

    /// Makes the supervisor of a room's shard fail, for tests.
    #[cfg(feature = "faults")]
    pub fn panic_supervisor(&self, key: &RoomKey) -> bool {
        let message = ShardMessage::Panic;
        self.0.shards.of(key).tell(message);
        true
    }

    /// Makes each room send its free seats to the matchmaker again.
    pub fn offer_again(&self) {
        for room in self.0.directory.all() {
            room.tell(RoomMessage::Offer);
        }
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rooms")
    }
}

impl RoomContext {
    /// Returns whether the hub is stopping, so that a new room starts paused.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::SeqCst)
    }

    /// Returns None if the room's kind is no longer configured.
    fn seed(&self, stored: StoredRoom, origin: Origin) -> Option<RoomSeed> {
        let Some(kind) = self.kinds.get(&stored.kind) else {
            tracing::debug!(room = %stored.code, kind = %stored.kind, "no such kind is configured");
            return None;
        };
        Some(RoomSeed::seated(Arc::clone(kind), stored, origin))
    }

    async fn load(&self, code: RoomCode, is_rebuild: bool) -> Result<Option<RoomSeed>, LoadError> {
        let stored = if is_rebuild {
            self.persistence.room_truth(code).await
        } else {
            self.persistence.room_by_code(code).await
        };
        let origin = if is_rebuild {
            Origin::Rebuilt
        } else {
            Origin::Stored
        };
        let Some(mut stored) = stored? else {
            return Ok(None);
        };
        self.persistence.take_up(&mut stored).await?;
        Ok(self.seed(stored, origin))
    }
}

impl RoomSeed {
    fn seated(kind: Arc<Kind>, stored: StoredRoom, origin: Origin) -> RoomSeed {
        RoomSeed {
            key: RoomKey::Code(stored.code),
            channel: channel(&kind.name, stored.code),
            kind,
            stored: Some(stored),
            origin,
        }
    }
}

impl RoomSeed {
    /// Returns the room's id if its memory stream was read from its row.
    fn of_row(&self) -> Option<RoomId> {
        let stored = self.stored.as_ref()?;
        let is_in_memory = !stored.stream.is_durable && !stored.is_closed;
        match self.origin {
            Origin::Stored | Origin::Rebuilt => is_in_memory.then_some(stored.id),
            Origin::Opened(_) => None,
        }
    }
}

/// Returns the channel of a room.
pub fn channel(kind: &str, code: RoomCode) -> Arc<str> {
    format!("{kind}:{code}").into()
}

/// The factory with which the shards start rooms.
#[derive(Clone)]
pub(super) struct RoomBrood(Arc<RoomContext>);

impl ActorFactory for RoomBrood {
    type Key = RoomKey;
    type Handle = RoomHandle;
    type Seed = RoomSeed;
    type News = RoomNews;

    const KIND: &'static str = "room";

    async fn spawn(
        &self,
        seed: RoomSeed,
        shard: ActorCell,
    ) -> Result<(RoomHandle, ActorCell), SpawnErr> {
        let channel = Arc::clone(&seed.channel);
        let audience = MemberCount::default();
        if let Some(room) = seed.of_row() {
            self.0.persistence.room_starts(room);
        }
        let arguments = (Arc::clone(&self.0), seed, audience.clone());
        let (actor, _) = Actor::spawn_linked(None, RoomActor, arguments, shard).await?;
        let cell = actor.get_cell();
        Ok((RoomHandle::new(actor, channel, audience), cell))
    }

    async fn load(&self, key: RoomKey, is_rebuild: bool) -> Result<Option<RoomSeed>, LoadError> {
        let channel = match key {
            RoomKey::Code(code) => return self.0.load(code, is_rebuild).await,
            // An open channel that has failed has no members: they were asked to subscribe again.
            RoomKey::Channel(_) if is_rebuild => return Ok(None),
            RoomKey::Channel(channel) => channel,
        };
        let kind = self.0.kinds.of_channel(&channel);
        Ok(kind
            .filter(|kind| kind.is_open_channel())
            .map(|kind| RoomSeed {
                key: RoomKey::Channel(Arc::clone(&channel)),
                kind: Arc::clone(kind),
                channel,
                stored: None,
                origin: Origin::Stored,
            }))
    }

    fn enter(&self, key: &RoomKey, handle: &RoomHandle) {
        self.0.directory.enter(key.clone(), handle.clone());
        if let RoomKey::Code(code) = key {
            self.0.dormant.wake(*code);
        }
    }

    fn leave(&self, key: &RoomKey) {
        self.0.directory.leave(key);
    }

    fn leave_all(&self, shard: usize) -> Vec<RoomKey> {
        self.0.directory.leave_all(shard)
    }

    fn hear(&self, room: &RoomHandle, news: RoomNews) {
        room.session_changed(news);
    }

    fn let_go(&self, room: &RoomHandle) {
        room.tell(RoomMessage::Retire);
    }
}

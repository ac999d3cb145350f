//! The way to the shards of one kind, which stays the same over their restarts.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ractor::{Actor, ActorCell, SpawnErr};

use super::brood::{Brood, LoadError, ShardMessage, Waiter};
use super::post::Post;
use super::shard::Shard;
use crate::mailbox::Unanswered;

/// Supervisors of one kind. Enough that no one of them is a bottleneck when thousands of clients come
/// back at once, few enough that each is worth its while.
pub const SHARDS: usize = 16;

/// How long a question waits for a shard that is being started again: twice its longest back-off, and
/// less than half of what a client waits.
const RESTART_WITHIN: Duration = Duration::from_secs(2);

/// The wait before a shard that was not there is asked again: about its shortest back-off.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The way to all shards of one kind. Cheap to clone.
pub struct ShardHandle<B: Brood> {
    places: Arc<[Place<B>]>,
}

/// What outlives a shard.
struct Place<B: Brood> {
    post: Post<ShardMessage<B>>,
    /// Actors that must come back and are in no directory: a shard that fails meanwhile leaves them to
    /// its successor.
    owed: Mutex<HashSet<B::Key>>,
    restoring: Mutex<Restoring<B::Key>>,
}

/// Whether actors may be started from pages of rows, which are older than what a shard has been told since.
enum Restoring<K> {
    /// The shard has not been started.
    Ahead,
    /// All but these keys, of which something was told or which were live since the hub began.
    Running(HashSet<K>),
    Over,
}

impl<B: Brood> ShardHandle<B> {
    pub fn vacant() -> ShardHandle<B> {
        let place = |_| Place {
            post: Post::vacant(),
            owed: Mutex::default(),
            restoring: Mutex::new(Restoring::Ahead),
        };
        ShardHandle {
            places: (0..SHARDS).map(place).collect(),
        }
    }

    /// Starts the supervisor of one share, under the hub, with the actors that it had before.
    pub async fn start_shard(
        &self,
        brood: B,
        index: usize,
        hub: ActorCell,
    ) -> Result<ActorCell, SpawnErr> {
        let shards = self.clone();
        let shard = Shard {
            brood,
            index,
            shards,
        };
        let (actor, _) = Actor::spawn_linked(None, shard, (), hub).await?;
        Ok(actor.get_cell())
    }

    /// Starts actors as they were before the hub was restarted, but for those that are live already. Returns the keys
    /// that were left alone, because their rows may have changed since they were read: resolve them one by one.
    pub async fn restore(
        &self,
        seeds: impl Iterator<Item = (B::Key, B::Seed)>,
    ) -> Result<Vec<B::Key>, Unanswered> {
        let mut shares: Vec<Vec<(B::Key, B::Seed)>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for (key, seed) in seeds {
            shares[shard_of(&key)].push((key, seed));
        }
        let posts = shares.into_iter().enumerate().map(|(shard, seeds)| {
            self.post(shard)
                .ask(|reply| ShardMessage::Restore { seeds, reply })
        });
        let left = futures_util::future::try_join_all(posts).await?;
        Ok(left.into_iter().flatten().collect())
    }

    /// Ends the restore: no shard starts anything from rows that others have read.
    pub fn restored(&self) {
        for place in &*self.places {
            *place.restoring.lock() = Restoring::Over;
        }
    }

    /// A shard begins. One that follows another does not know what that one was told.
    pub(super) fn begin(&self, shard: usize) {
        let mut restoring = self.places[shard].restoring.lock();
        *restoring = match *restoring {
            Restoring::Ahead => Restoring::Running(HashSet::new()),
            Restoring::Running(_) | Restoring::Over => Restoring::Over,
        };
    }

    /// Takes note that the row of a key may differ from what was read before.
    pub(super) fn outdate(&self, key: &B::Key) {
        let mut restoring = self.places[shard_of(key)].restoring.lock();
        if let Restoring::Running(outdated) = &mut *restoring {
            outdated.insert(key.clone());
        }
    }

    /// Whether a key may be started from a row that was read since the hub began.
    pub(super) fn may_restore(&self, key: &B::Key) -> bool {
        let restoring = self.places[shard_of(key)].restoring.lock();
        matches!(&*restoring, Restoring::Running(outdated) if !outdated.contains(key))
    }

    /// The shard that a key belongs to.
    pub fn of(&self, key: &B::Key) -> &Post<ShardMessage<B>> {
        self.post(shard_of(key))
    }

    pub fn post(&self, shard: usize) -> &Post<ShardMessage<B>> {
        &self.places[shard].post
    }

    /// Whether every shard has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(|place| place.post.is_manned())
    }

    /// Finds an actor, or loads it. None: there is no such row.
    pub async fn resolve(&self, key: &B::Key) -> Result<Option<B::Handle>, LoadError> {
        let key = key.clone();
        self.ask(&key.clone(), |reply| {
            let key = key.clone();
            ShardMessage::Resolve { key, reply }
        })
        .await
    }

    /// Finds an actor, or brings it back as after a failure. It comes back even if the shard fails
    /// meanwhile, or if nobody waits for the answer, or if the row can be read only later.
    pub async fn rebuild(&self, key: &B::Key) -> Result<Option<B::Handle>, LoadError> {
        self.owe(key);
        self.ask(key, |reply| {
            let key = key.clone();
            ShardMessage::Rebuild { key, reply }
        })
        .await
    }

    /// Starts an actor whose row has just been committed. If its shard fails, its successor does it.
    pub async fn start(&self, key: &B::Key, seed: B::Seed) -> Result<Option<B::Handle>, LoadError> {
        let started = self.of(key).ask(|reply| ShardMessage::Start {
            key: key.clone(),
            seed,
            reply,
        });
        match started.await {
            Ok(found) => found,
            Err(Unanswered::Busy) => Err(LoadError),
            Err(Unanswered::Stopped) => self.rebuild(key).await,
        }
    }

    /// Asks a shard; one that is being started again is waited for.
    async fn ask(
        &self,
        key: &B::Key,
        question: impl Fn(Waiter<B>) -> ShardMessage<B>,
    ) -> Result<Option<B::Handle>, LoadError> {
        let give_up = Instant::now() + RESTART_WITHIN;
        loop {
            match self.of(key).ask(&question).await {
                Ok(found) => return found,
                Err(Unanswered::Stopped) if Instant::now() < give_up => {
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                }
                Err(Unanswered::Stopped | Unanswered::Busy) => return Err(LoadError),
            }
        }
    }

    /// Takes note that an actor must come back.
    pub(super) fn owe(&self, key: &B::Key) {
        let mut owed = self.places[shard_of(key)].owed.lock();
        owed.insert(key.clone());
    }

    /// It has come back, or there is no need for it.
    pub(super) fn settle(&self, key: &B::Key) {
        let mut owed = self.places[shard_of(key)].owed.lock();
        owed.remove(key);
    }

    /// What must come back in a shard.
    pub(super) fn owed(&self, shard: usize) -> Vec<B::Key> {
        let owed = self.places[shard].owed.lock();
        owed.iter().cloned().collect()
    }
}

impl<B: Brood> Clone for ShardHandle<B> {
    fn clone(&self) -> ShardHandle<B> {
        ShardHandle {
            places: Arc::clone(&self.places),
        }
    }
}

impl<B: Brood> fmt::Debug for ShardHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardHandle({})", B::KIND)
    }
}

/// Which of so many shares a key belongs to, for the life of the process. The hash has a random key, so that nobody can choose
/// names that all fall to one share; but in builds with fail points, where a test must know who shares a supervisor.
pub fn share_of<K: Hash>(key: &K, shares: usize) -> usize {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let hash = match cfg!(feature = "faults") {
        true => BuildHasherDefault::<DefaultHasher>::default().hash_one(key),
        false => HASHER.hash_one(key),
    };
    usize::try_from(hash % shares as u64).expect("below the number of shares")
}

/// The same key always belongs to the same shard.
pub fn shard_of<K: Hash>(key: &K) -> usize {
    share_of(key, SHARDS)
}

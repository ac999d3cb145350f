//! A handle to the shards of one kind, which stays the same across their restarts.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ractor::{Actor, ActorCell, SpawnErr};

use super::brood::{ActorFactory, LoadError, ShardMessage, Waiter};
use super::post::ActorAddress;
use super::shard::Shard;
use crate::mailbox::Unanswered;

/// Number of supervisors of one kind. Enough that none of them is a bottleneck when thousands of clients come back at
/// once, few enough that each has work.
pub const SHARDS: usize = 16;

/// Limit on the wait for a shard that is being restarted: twice its longest back-off, and less than half of a
/// client's wait.
const RESTART_TIMEOUT: Duration = Duration::from_secs(2);

/// Wait before an absent shard is asked again: about its shortest back-off.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A handle to all shards of one kind. Cheap to clone.
pub struct ShardHandle<B: ActorFactory> {
    places: Arc<[ShardPlace<B>]>,
}

/// The state of a shard that outlives it.
struct ShardPlace<B: ActorFactory> {
    post: ActorAddress<ShardMessage<B>>,
    /// Actors that must come back and are in no directory: a shard that fails leaves them to its successor.
    owed: Mutex<HashSet<B::Key>>,
    restoring: Mutex<Restoring<B::Key>>,
}

/// The phase of the restore, which starts actors from pages of rows. These may be older than the changes that a shard
/// knows of.
enum Restoring<K> {
    /// The shard has not been started.
    Ahead,
    /// All keys may be started but these: they have changed, or were live, since the hub began.
    Running(HashSet<K>),
    Over,
}

impl<B: ActorFactory> ShardHandle<B> {
    pub fn vacant() -> ShardHandle<B> {
        let place = |_| ShardPlace {
            post: ActorAddress::vacant(),
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

    /// Starts actors as they were before the restart of the hub, except those that are live already. Returns the keys
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

    /// Ends the restore: shards no longer start actors from rows that others have read.
    pub fn restored(&self) {
        for place in &*self.places {
            *place.restoring.lock() = Restoring::Over;
        }
    }

    /// Begins a shard. A successor does not know the messages to the shard before it, so it takes no part in the
    /// restore.
    pub(super) fn begin(&self, shard: usize) {
        let mut restoring = self.places[shard].restoring.lock();
        *restoring = match *restoring {
            Restoring::Ahead => Restoring::Running(HashSet::new()),
            Restoring::Running(_) | Restoring::Over => Restoring::Over,
        };
    }

    /// Records that the row of a key may have changed since it was read.
    pub(super) fn outdate(&self, key: &B::Key) {
        let mut restoring = self.places[shard_of(key)].restoring.lock();
        if let Restoring::Running(outdated) = &mut *restoring {
            outdated.insert(key.clone());
        }
    }

    /// Returns true if a key may be started from a row that was read since the hub began.
    pub(super) fn may_restore(&self, key: &B::Key) -> bool {
        let restoring = self.places[shard_of(key)].restoring.lock();
        matches!(&*restoring, Restoring::Running(outdated) if !outdated.contains(key))
    }

    /// Returns the shard that a key belongs to.
    pub fn of(&self, key: &B::Key) -> &ActorAddress<ShardMessage<B>> {
        self.post(shard_of(key))
    }

    pub fn post(&self, shard: usize) -> &ActorAddress<ShardMessage<B>> {
        &self.places[shard].post
    }

    /// Returns true if every shard has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.places.iter().all(|place| place.post.is_running())
    }

    /// Finds an actor, or loads it. Returns `None` if there is no such row.
    pub async fn resolve(&self, key: &B::Key) -> Result<Option<B::Handle>, LoadError> {
        let key = key.clone();
        self.ask(&key.clone(), |reply| {
            let key = key.clone();
            ShardMessage::Resolve { key, reply }
        })
        .await
    }

    /// Finds an actor, or brings it back as after a failure. It comes back even if the shard fails, if no caller
    /// waits for it any more, or if the row can be read only later.
    pub async fn rebuild(&self, key: &B::Key) -> Result<Option<B::Handle>, LoadError> {
        self.owe(key);
        self.ask(key, |reply| {
            let key = key.clone();
            ShardMessage::Rebuild { key, reply }
        })
        .await
    }

    /// Starts an actor whose row has just been committed. If its shard fails, the successor starts it.
    pub async fn start(&self, key: &B::Key, seed: B::Seed) -> Result<Option<B::Handle>, LoadError> {
        let started = self.of(key).ask(|reply| ShardMessage::Start {
            key: key.clone(),
            seed,
            reply,
        });
        match started.await {
            Ok(found) => found,
            Err(Unanswered::Busy) => Err(LoadError::Unavailable),
            // The row is stored, so no caller may take this for a change that was not made.
            Err(Unanswered::Stopped) => {
                let found = self.rebuild(key).await;
                found.map_err(|_| LoadError::Unavailable)
            }
        }
    }

    /// Asks a shard, and waits for one that is being restarted.
    async fn ask(
        &self,
        key: &B::Key,
        question: impl Fn(Waiter<B>) -> ShardMessage<B>,
    ) -> Result<Option<B::Handle>, LoadError> {
        let give_up = Instant::now() + RESTART_TIMEOUT;
        loop {
            match self.of(key).ask(&question).await {
                Ok(found) => return found,
                Err(Unanswered::Stopped) if Instant::now() < give_up => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(Unanswered::Stopped | Unanswered::Busy) => return Err(LoadError::Unavailable),
            }
        }
    }

    /// Records that an actor must come back.
    pub(super) fn owe(&self, key: &B::Key) {
        let mut owed = self.places[shard_of(key)].owed.lock();
        owed.insert(key.clone());
    }

    /// Records that an actor has come back, or is not needed.
    pub(super) fn settle(&self, key: &B::Key) {
        let mut owed = self.places[shard_of(key)].owed.lock();
        owed.remove(key);
    }

    /// Returns the actors that must come back in a shard.
    pub(super) fn owed(&self, shard: usize) -> Vec<B::Key> {
        let owed = self.places[shard].owed.lock();
        owed.iter().cloned().collect()
    }
}

impl<B: ActorFactory> Clone for ShardHandle<B> {
    fn clone(&self) -> ShardHandle<B> {
        ShardHandle {
            places: Arc::clone(&self.places),
        }
    }
}

impl<B: ActorFactory> fmt::Debug for ShardHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardHandle({})", B::KIND)
    }
}

/// Returns the share that a key belongs to, for the life of the process. The hash has a random key, so that nobody
/// can choose names that all fall into one share. In builds with fail points it is fixed, because tests must know
/// which keys share a supervisor.
pub fn share_of<K: Hash>(key: &K, shares: usize) -> usize {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let hash = match cfg!(feature = "faults") {
        true => BuildHasherDefault::<DefaultHasher>::default().hash_one(key),
        false => HASHER.hash_one(key),
    };
    usize::try_from(hash % shares as u64).expect("below the number of shares")
}

/// Returns the shard of a key, always the same one.
pub fn shard_of<K: Hash>(key: &K) -> usize {
    share_of(key, SHARDS)
}

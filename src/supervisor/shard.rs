//! The supervisor of a share of the rooms or of the sessions.
//!
//! Owns: which of its keys are live. Supervised by: the hub.
//! On failure: its actors go with it; the hub starts it again, and it loads them anew.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use tracing::{error, warn};

use super::alive::Alive;
use super::budget::Budget;
use super::post::Post;
use super::roster::{Found, Roster};
use crate::mailbox::answer;

/// Supervisors of one kind. Enough that no one of them is a bottleneck when thousands of clients come
/// back at once, few enough that each is worth its while.
pub const SHARDS: usize = 16;

/// The wait before a row that could not be read is read again, for an actor that must come back.
const REBUILD_RETRY: Duration = Duration::from_secs(1);

/// The row of a key could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database could not be asked")]
pub struct LoadError;

/// What a shard supervises: how one of its actors is found, started and let go.
pub trait Brood: Clone + Send + Sync + 'static {
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    type Handle: Clone + Send + Sync + 'static;
    /// What an actor is started from.
    type Seed: Send + 'static;

    /// For logs and metrics.
    const KIND: &'static str;

    fn spawn(
        &self,
        seed: Self::Seed,
        shard: ActorCell,
    ) -> impl Future<Output = Result<(Self::Handle, ActorCell), SpawnErr>> + Send;

    /// Reads what an actor is started from. `is_rebuild` after a failure: then what was being written
    /// must be waited for, and only an actor that is needed comes back.
    fn load(
        &self,
        key: Self::Key,
        is_rebuild: bool,
    ) -> impl Future<Output = Result<Option<Self::Seed>, LoadError>> + Send;

    /// Makes a live actor known.
    fn enter(&self, key: &Self::Key, handle: &Self::Handle);

    /// Makes it unknown, before it goes.
    fn leave(&self, key: &Self::Key);

    /// Makes all actors of a shard unknown that has failed, and tells which they were.
    fn leave_all(&self, shard: usize) -> Vec<Self::Key>;

    /// Asks an actor to answer with [`ShardMessage::Stays`] or [`ShardMessage::Goes`].
    fn let_go(&self, handle: &Self::Handle);
}

pub(crate) type Waiter<B> = RpcReplyPort<Result<Option<<B as Brood>::Handle>, LoadError>>;

/// What a shard is told and asked.
#[expect(missing_debug_implementations, reason = "reply ports have none")]
pub enum ShardMessage<B: Brood> {
    /// Start an actor that has just been made; an actor that lives already is left as it is.
    Start {
        key: B::Key,
        seed: B::Seed,
        reply: Waiter<B>,
    },
    /// Start many at once, at the start of the hub.
    Restore {
        seeds: Vec<(B::Key, B::Seed)>,
        reply: RpcReplyPort<()>,
    },
    /// Find an actor, or load it. None: there is no such row.
    Resolve { key: B::Key, reply: Waiter<B> },
    Loaded {
        key: B::Key,
        is_rebuild: bool,
        seed: Result<Option<B::Seed>, LoadError>,
    },
    /// From an actor: nothing needs me.
    Idle { key: B::Key },
    /// From an actor that was asked to go: somebody does.
    Stays { key: B::Key },
    /// From an actor: let me go.
    Goes { key: B::Key },
}

/// The way to all shards of one kind.
pub struct ShardHandle<B: Brood> {
    posts: Arc<[Post<ShardMessage<B>>]>,
}

impl<B: Brood> ShardHandle<B> {
    pub fn vacant() -> ShardHandle<B> {
        ShardHandle {
            posts: (0..SHARDS).map(|_| Post::vacant()).collect(),
        }
    }

    /// The shard that a key belongs to.
    pub fn of(&self, key: &B::Key) -> &Post<ShardMessage<B>> {
        &self.posts[shard_of(key)]
    }

    pub fn post(&self, shard: usize) -> &Post<ShardMessage<B>> {
        &self.posts[shard]
    }

    /// Whether every shard has its supervisor.
    pub fn is_whole(&self) -> bool {
        self.posts.iter().all(Post::is_manned)
    }

    /// Finds an actor, or loads it. None: there is no such row.
    pub async fn resolve(&self, key: &B::Key) -> Result<Option<B::Handle>, LoadError> {
        self.of(key)
            .ask(|reply| ShardMessage::Resolve {
                key: key.clone(),
                reply,
            })
            .await
            .map_err(|_| LoadError)?
    }

    /// Starts an actor that has just been made.
    pub async fn start(&self, key: &B::Key, seed: B::Seed) -> Result<Option<B::Handle>, LoadError> {
        self.of(key)
            .ask(|reply| ShardMessage::Start {
                key: key.clone(),
                seed,
                reply,
            })
            .await
            .map_err(|_| LoadError)?
    }
}

impl<B: Brood> Clone for ShardHandle<B> {
    fn clone(&self) -> ShardHandle<B> {
        ShardHandle {
            posts: Arc::clone(&self.posts),
        }
    }
}

impl<B: Brood> fmt::Debug for ShardHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardHandle({})", B::KIND)
    }
}

/// The same key always belongs to the same shard.
pub fn shard_of<K: Hash>(key: &K) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % SHARDS as u64).expect("below SHARDS")
}

/// The actor.
#[derive(Debug)]
pub struct Shard<B> {
    pub brood: B,
    pub index: usize,
}

/// A shard's book.
#[expect(missing_debug_implementations, reason = "reply ports have none")]
pub struct ShardState<B: Brood> {
    roster: Roster<B::Key, B::Handle, Waiter<B>>,
    children: HashMap<ActorId, B::Key>,
    cells: HashMap<B::Key, ActorCell>,
    budget: Budget,
    _alive: Alive,
}

impl<B: Brood> Actor for Shard<B> {
    type Msg = ShardMessage<B>;
    type State = ShardState<B>;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        (): (),
    ) -> Result<ShardState<B>, ActorProcessingErr> {
        let mut state = ShardState {
            roster: Roster::new(),
            children: HashMap::new(),
            cells: HashMap::new(),
            budget: Budget::default(),
            _alive: Alive::new("shard"),
        };
        for key in self.brood.leave_all(self.index) {
            state.roster.load(&key, Vec::new());
            self.load(&myself, key, true, Duration::ZERO);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        message: ShardMessage<B>,
        state: &mut ShardState<B>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Start { key, seed, reply } => {
                if let Found::Live { handle, waiter } = state.roster.find(&key, reply) {
                    answer(waiter, Ok(Some(handle)));
                } else {
                    self.spawn(&myself, state, key, seed).await?;
                }
            }
            ShardMessage::Restore { seeds, reply } => {
                for (key, seed) in seeds {
                    self.spawn(&myself, state, key, seed).await?;
                }
                answer(reply, ());
            }
            ShardMessage::Resolve { key, reply } => match state.roster.find(&key, reply) {
                Found::Live { handle, waiter } => answer(waiter, Ok(Some(handle))),
                Found::Waits => {}
                Found::MustLoad => self.load(&myself, key, false, Duration::ZERO),
            },
            ShardMessage::Loaded {
                key,
                is_rebuild,
                seed,
            } => self.loaded(&myself, state, key, is_rebuild, seed).await?,
            ShardMessage::Idle { key } => {
                if let Some(handle) = state.roster.leaving(&key) {
                    self.brood.leave(&key);
                    self.brood.let_go(&handle);
                }
            }
            ShardMessage::Stays { key } => {
                if let Some((handle, waiters)) = state.roster.stays(&key) {
                    self.brood.enter(&key, &handle);
                    for waiter in waiters {
                        answer(waiter, Ok(Some(handle.clone())));
                    }
                }
            }
            ShardMessage::Goes { key } => self.goes(&myself, state, key)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage<B>>,
        event: SupervisionEvent,
        state: &mut ShardState<B>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                self.failed(&myself, state, cell.get_id(), &reason.to_string())
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                let reason = reason.unwrap_or_default();
                self.failed(&myself, state, cell.get_id(), &reason)
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

impl<B: Brood> Shard<B> {
    async fn spawn(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        seed: B::Seed,
    ) -> Result<(), ActorProcessingErr> {
        let (handle, cell) = self.brood.spawn(seed, myself.get_cell()).await?;
        state.children.insert(cell.get_id(), key.clone());
        state.cells.insert(key.clone(), cell);
        self.brood.enter(&key, &handle);
        for waiter in state.roster.started(key, handle.clone()) {
            answer(waiter, Ok(Some(handle.clone())));
        }
        Ok(())
    }

    fn load(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        key: B::Key,
        is_rebuild: bool,
        delay: Duration,
    ) {
        let brood = self.brood.clone();
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let seed = brood.load(key.clone(), is_rebuild).await;
            // The shard has failed; its successor loads anew.
            let _ = myself.cast(ShardMessage::Loaded {
                key,
                is_rebuild,
                seed,
            });
        });
    }

    async fn loaded(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
        is_rebuild: bool,
        seed: Result<Option<B::Seed>, LoadError>,
    ) -> Result<(), ActorProcessingErr> {
        if !state.roster.is_loading(&key) {
            // It was started meanwhile by one who had just made it.
            return Ok(());
        }
        match seed {
            Ok(Some(seed)) => self.spawn(myself, state, key, seed).await?,
            Ok(None) => {
                for waiter in state.roster.gone(&key) {
                    answer(waiter, Ok(None));
                }
            }
            Err(LoadError) => {
                for waiter in state.roster.gone(&key) {
                    answer(waiter, Err(LoadError));
                }
                if is_rebuild {
                    state.roster.load(&key, Vec::new());
                    self.load(myself, key, true, REBUILD_RETRY);
                }
            }
        }
        Ok(())
    }

    /// Retires an actor: the entry first, then what it was still sent.
    fn goes(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        key: B::Key,
    ) -> Result<(), ActorProcessingErr> {
        self.brood.leave(&key);
        if let Some(cell) = state.cells.remove(&key) {
            state.children.remove(&cell.get_id());
            cell.drain()?;
        }
        let waiters = state.roster.gone(&key);
        if !waiters.is_empty() {
            state.roster.load(&key, waiters);
            self.load(myself, key, false, Duration::ZERO);
        }
        Ok(())
    }

    /// Rebuilds an actor that ended without being let go.
    fn failed(
        &self,
        myself: &ActorRef<ShardMessage<B>>,
        state: &mut ShardState<B>,
        id: ActorId,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some(key) = state.children.remove(&id) else {
            return Ok(());
        };
        metrics::counter!("holdfast_actor_restarts_total", "kind" => B::KIND).increment(1);
        state.cells.remove(&key);
        self.brood.leave(&key);
        let waiters = state.roster.gone(&key);
        state.roster.load(&key, waiters);
        match state.budget.spend(Instant::now()) {
            Ok(delay) => {
                warn!(kind = B::KIND, ?key, reason, "actor failed, rebuilding it");
                self.load(myself, key, true, delay);
                Ok(())
            }
            Err(spent) => {
                error!(kind = B::KIND, ?key, reason, "actors keep failing");
                Err(spent.into())
            }
        }
    }
}

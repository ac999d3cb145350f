//! The factory of a shard's actors, and the messages to a shard.

use std::fmt;
use std::hash::Hash;

use ractor::{ActorCell, RpcReplyPort, SpawnErr};

/// The reason why an actor cannot be started or reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It may pass: the database or the actor did not answer.
    #[error("the database did not answer")]
    Unavailable,
    /// The row of its key cannot be read, and a retry fails again.
    #[error("the stored row cannot be read")]
    Failed,
}

/// A factory for actors of one sort: how they are loaded, started and retired.
pub trait ActorFactory: Clone + Send + Sync + 'static {
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    type Handle: Clone + Send + Sync + 'static;
    /// The data that an actor is started from.
    type Seed: Send + 'static;
    /// The messages that an actor must not miss.
    type News: Send + 'static;

    /// The name in logs and metrics.
    const KIND: &'static str;

    fn spawn(
        &self,
        seed: Self::Seed,
        shard: ActorCell,
    ) -> impl Future<Output = Result<(Self::Handle, ActorCell), SpawnErr>> + Send;

    /// Reads the data for an actor. `is_rebuild` after a failure: then pending writes must be waited for, and only an
    /// actor that is needed comes back.
    fn load(
        &self,
        key: Self::Key,
        is_rebuild: bool,
    ) -> impl Future<Output = Result<Option<Self::Seed>, LoadError>> + Send;

    /// Enters a live actor into its directory.
    fn enter(&self, key: &Self::Key, handle: &Self::Handle);

    /// Removes an actor from its directory, before it stops.
    fn leave(&self, key: &Self::Key);

    /// Removes all actors of a failed shard from their directory, and returns their keys.
    fn leave_all(&self, shard: usize) -> Vec<Self::Key>;

    /// Sends an actor a message that it missed, perhaps after later ones.
    fn hear(&self, handle: &Self::Handle, news: Self::News);

    /// Asks an actor to answer with [`ShardMessage::Stays`] or [`ShardMessage::Goes`]. It stays in its directory
    /// until it stops, so that it receives everything before that. Messages after its [`ShardMessage::Goes`] come
    /// back as [`ShardMessage::Missed`].
    fn let_go(&self, handle: &Self::Handle);
}

pub(crate) type Waiter<B> = RpcReplyPort<Result<Option<<B as ActorFactory>::Handle>, LoadError>>;

/// The messages to a shard.
#[expect(missing_debug_implementations, reason = "reply ports have none")]
pub enum ShardMessage<B: ActorFactory> {
    /// Starts an actor that is new; a live one is left as it is.
    Start {
        key: B::Key,
        seed: B::Seed,
        reply: Waiter<B>,
    },
    /// Starts many actors from rows that were read a moment ago, after the start of the hub. Answered with the keys
    /// that were left alone, because their rows may have changed since.
    Restore {
        seeds: Vec<(B::Key, B::Seed)>,
        reply: RpcReplyPort<Vec<B::Key>>,
    },
    /// Finds an actor, or loads it. `None`: there is no such row.
    Resolve { key: B::Key, reply: Waiter<B> },
    /// Finds an actor, or brings it back as after a failure: its row was changed, and the actor could not be
    /// notified.
    Rebuild { key: B::Key, reply: Waiter<B> },
    /// An actor missed a message: it was in no directory, or about to stop. If it is being started, its data may be
    /// older than the message.
    Missed { key: B::Key, news: B::News },
    Loaded {
        key: B::Key,
        /// The number of this read: only the newest counts.
        reading: u64,
        is_rebuild: bool,
        seed: Result<Option<B::Seed>, LoadError>,
    },
    /// From an actor: it is not needed.
    Idle { key: B::Key },
    /// From an actor that was asked to stop: it is needed.
    Stays { key: B::Key },
    /// From an actor that was asked to stop: it may be retired.
    Goes { key: B::Key },
    /// Fail at a test's request.
    #[cfg(feature = "faults")]
    Panic,
}

//! What a shard supervises, and what it is told and asked.

use std::fmt;
use std::hash::Hash;

use ractor::{ActorCell, RpcReplyPort, SpawnErr};

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
    /// What its actors are told by others, and must not miss.
    type News: Send + 'static;

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

    /// Tells an actor what it was to be told before, perhaps after what was told later.
    fn hear(&self, handle: &Self::Handle, news: Self::News);

    /// Asks an actor to answer with [`ShardMessage::Stays`] or [`ShardMessage::Goes`]. It is known until it goes,
    /// so that it hears what happens meanwhile; what it is told after it has said that it goes, it gives back as
    /// [`ShardMessage::Missed`].
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
    /// Start many at once from rows that were read a moment ago, after the start of the hub. Answered with the keys
    /// that were left alone, because their rows may have changed since.
    Restore {
        seeds: Vec<(B::Key, B::Seed)>,
        reply: RpcReplyPort<Vec<B::Key>>,
    },
    /// Find an actor, or load it. None: there is no such row.
    Resolve { key: B::Key, reply: Waiter<B> },
    /// Find an actor, or bring it back as after a failure: what it is about was changed by somebody who
    /// could not tell it.
    Rebuild { key: B::Key, reply: Waiter<B> },
    /// An actor was to be told something, and was in no directory or about to go. One that is being started
    /// may know what was true before.
    Missed { key: B::Key, news: B::News },
    Loaded {
        key: B::Key,
        /// Which reading of the row this is: only the newest counts.
        reading: u64,
        is_rebuild: bool,
        seed: Result<Option<B::Seed>, LoadError>,
    },
    /// From an actor: nothing needs me.
    Idle { key: B::Key },
    /// From an actor that was asked to go: somebody does.
    Stays { key: B::Key },
    /// From an actor: let me go.
    Goes { key: B::Key },
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
}

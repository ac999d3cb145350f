//! How things are started, restarted and retired, and whether the daemon is ready. Knows no component.
//!
//! A [`Shard`] is the only one that starts or retires the actors of its share of the keys, so two
//! look-ups at once start an actor once. A directory entry goes before its actor does.

mod alive;
mod budget;
mod post;
mod readiness;
mod roster;
mod shard;
mod wheel;

pub use alive::Alive;
pub use budget::{Budget, Spent};
pub use post::Post;
pub use readiness::{Phase, Readiness};
pub use shard::{Brood, LoadError, SHARDS, Shard, ShardHandle, ShardMessage, shard_of};
pub use wheel::Wheel;

//! How things are started, restarted and retired, and whether the daemon is ready. Knows no component.
//!
//! A shard is the only one that starts or retires the actors of its share of the keys, so two
//! look-ups at once start an actor once. A directory entry goes before its actor does.

mod alive;
mod brood;
mod budget;
mod handle;
mod post;
mod readiness;
mod roster;
mod shard;
mod wheel;

pub use alive::{Alive, Listed};
pub use brood::{Brood, LoadError, ShardMessage};
pub use budget::{Budget, Spent};
pub use handle::{SHARDS, ShardHandle, shard_of, share_of};
pub use post::Post;
pub use readiness::{Phase, Readiness};
pub use wheel::{Wheel, Wheels};

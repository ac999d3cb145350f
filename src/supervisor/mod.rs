//! Supervision: starts, restarts, retires and wakes actors, and holds the phase of the daemon. Knows no component.
//!
//! A key is absent, *loading* (its row is being read), *live*, *leaving* (asked to stop), or *resting* after too many
//! failures. Only a shard starts or retires the actors of its share of the keys, so two look-ups at once start an
//! actor once. A directory entry is removed before its actor stops.

mod alive;
mod brood;
mod budget;
mod handle;
mod post;
mod readiness;
mod roster;
mod shard;
mod wheel;

pub use alive::{EntryGauge, LiveGauge};
pub use brood::{ActorFactory, LoadError, ShardMessage};
pub use budget::{BudgetExhausted, RestartBudget};
pub use handle::{SHARDS, ShardHandle, shard_of, share_of};
pub use post::ActorAddress;
pub use readiness::{Phase, Readiness};
pub use wheel::{Wheel, Wheels};

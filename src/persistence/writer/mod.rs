//! The writers: commands wait in a queue, share a transaction in groups, and are answered after its COMMIT.
//!
//! A command goes from `actor` to its `lane` and `queue`. The `task` of the lane takes what has collected, `batching`
//! cuts it into groups, and `commit` runs each in a transaction, together with `coalesced_writes`.

pub(crate) mod actor;
mod batching;
pub(crate) mod clean_stop;
pub(crate) mod coalesced_writes;
mod commit;
pub(crate) mod downtime;
mod exclusive_jobs;
pub(crate) mod lane;
pub(crate) mod message;
mod progress;
pub(crate) mod queue;
pub(crate) mod task;
pub(crate) mod write_health;

pub use actor::PersistenceActor;
pub use downtime::Startup;

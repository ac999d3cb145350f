//! The writers: commands wait in a queue, share a transaction in groups, and are answered after its COMMIT.

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
pub use downtime::RunStart;

//! Messages to the persistence actor.

use tokio::time::Instant;

use super::queue::{Job, Settle};
use crate::persistence::Write;
use crate::persistence::item::Answer;

pub(crate) enum PersistenceMessage {
    Write {
        write: Write,
        submitted: Instant,
        settle: Settle,
    },
    Job(Job),
    /// The answers of one transaction from a writer, by command number.
    Settled(Vec<(u64, Answer)>),
    /// Commands may have reached their deadline.
    DeadlinePassed,
    /// Test hook: makes the actor fail.
    #[cfg(feature = "faults")]
    Panic,
    /// A writer task has ended, which it should not while its queue is open.
    WriterEnded,
}

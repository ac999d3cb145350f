//! Everything the shell of persistence is told.

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
    /// The writer's answers of one transaction, by number.
    Settled(Vec<(u64, Answer)>),
    /// Commands may have reached their deadline.
    DeadlinePassed,
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
    /// The writer task is gone, which it should not be while its queue is open.
    WriterEnded,
}

//! A change that also publishes: while it waits for its turn in the stream, and while it is being written.

use std::fmt;
use std::time::Instant;

use crate::persistence::{Committed, News, Write, WriteError};
use crate::room::message::Change;

/// A change that waits for its turn.
#[derive(Debug)]
pub(in crate::room) struct QueuedChange {
    pub(in crate::room) write: Write,
    pub(in crate::room) change: Change,
    pub(in crate::room) hear: Completion,
    /// The time of the request.
    pub(in crate::room) since: Instant,
}

/// A change that is being written, with the events that it will publish.
#[derive(Debug)]
pub(in crate::room) struct InFlightChange {
    pub(in crate::room) news: News,
    pub(in crate::room) since: Instant,
}

/// Receives the outcome of a change, even if the room fails first.
pub(in crate::room) struct Completion(Option<Box<HearResult>>);

type HearResult = dyn FnOnce(&Result<Committed, WriteError>) + Send + Sync;

impl Completion {
    pub(in crate::room) fn new(
        hear: impl FnOnce(&Result<Committed, WriteError>) + Send + Sync + 'static,
    ) -> Completion {
        Completion(Some(Box::new(hear)))
    }

    pub(in crate::room) fn hear(mut self, result: &Result<Committed, WriteError>) {
        if let Some(hear) = self.0.take() {
            hear(result);
        }
    }
}

/// The room failed before the change was written.
impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(hear) = self.0.take() {
            hear(&Err(WriteError::Lost));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

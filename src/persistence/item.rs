//! A command on its way through a writer.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Command, Committed, IdempotencyRecord, News, Refused};

/// The answer to a command, definite either way.
pub(crate) type Answer = Result<Committed, Refused>;

/// A command that a writer works on.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) command: Command,
    pub(crate) once: Option<Arc<IdempotencyRecord>>,
    pub(crate) news: Option<Box<News>>,
    /// After this moment it is refused instead of retried.
    pub(crate) deadline: Instant,
}

//! A command on its way through a writer.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Command, Committed, News, Once, Refused};

/// What a command is answered with. Definite, either way.
pub(crate) type Answer = Result<Committed, Refused>;

/// A command in the writer's hands.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) command: Command,
    pub(crate) once: Option<Arc<Once>>,
    pub(crate) news: Option<Box<News>>,
    /// From here on it is refused rather than tried again.
    pub(crate) deadline: Instant,
}

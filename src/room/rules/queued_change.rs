//! A change that also publishes: while it waits for its turn in the stream, and while it is being written.

use std::time::Instant;

use crate::persistence::{News, Write};
use crate::room::message::Change;

/// A change that waits for its turn.
#[derive(Debug)]
pub(in crate::room) struct QueuedChange {
    pub(in crate::room) write: Write,
    pub(in crate::room) change: Change,
    /// The time of the request.
    pub(in crate::room) since: Instant,
}

/// A change that is being written, with the events that it will publish.
#[derive(Debug)]
pub(in crate::room) struct InFlightChange {
    pub(in crate::room) news: News,
    pub(in crate::room) since: Instant,
}

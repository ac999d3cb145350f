//! Whether the database takes writes, as the writer's own attempts show.
//!
//! The hub's heartbeat wants a write every few seconds, so this is known without asking. A read cannot
//! tell: a full disk, a lock and a read-only server all let it pass.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// A write that has not succeeded for so long is in trouble: the slowest commit that is still well takes
/// a tenth of it, and a connection that was cut is replaced within it.
const TROUBLE_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct WriteCondition(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    /// Since when a write is wanted that has not succeeded.
    since: Option<Instant>,
    is_told: bool,
}

impl WriteCondition {
    /// A write is about to be tried, for the first time or again.
    pub(crate) fn wants(&self) {
        self.0.lock().since.get_or_insert_with(Instant::now);
    }

    /// The database has carried out a write, or has refused it for what is in it.
    pub(crate) fn answers(&self) {
        let wanted = std::mem::take(&mut *self.0.lock());
        if wanted.is_told
            && let Some(since) = wanted.since
        {
            let seconds = since.elapsed().as_secs();
            info!(seconds, "the database takes writes again");
        }
    }

    /// A write has failed and will be tried again.
    pub(crate) fn fails(&self) {
        // Asked so that it is told.
        self.is_well();
    }

    /// Whether writes get through at this moment. Says in the log and the metrics when they stop to.
    pub(crate) fn is_well(&self) -> bool {
        let mut wanted = self.0.lock();
        let is_well = wanted
            .since
            .is_none_or(|since| since.elapsed() < TROUBLE_AFTER);
        if !is_well && !wanted.is_told {
            wanted.is_told = true;
            warn!("the database takes no writes; rooms play on, nothing new is stored");
        }
        is_well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_that_do_not_succeed_for_two_seconds_are_trouble_until_one_does() {
        let condition = WriteCondition::default();
        condition.wants();
        tokio::time::advance(TROUBLE_AFTER / 2).await;
        assert!(condition.is_well());

        condition.wants();
        tokio::time::advance(TROUBLE_AFTER / 2).await;
        assert!(!condition.is_well());

        condition.answers();
        assert!(condition.is_well());
    }
}

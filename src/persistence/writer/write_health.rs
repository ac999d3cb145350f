//! Write health: whether the database takes writes, as the writers' own attempts show.
//!
//! The hub's heartbeat attempts a write every few seconds, so no probe is needed. A read cannot show it: a full disk,
//! a lock and a read-only server all let it pass.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// How long a write may go without success before writes count as failing. The slowest healthy commit takes a tenth
/// of it, and a cut connection is replaced within it.
const TROUBLE_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct WriteCondition(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    /// Since when a write has been attempted without success.
    since: Option<Instant>,
    is_told: bool,
}

impl WriteCondition {
    /// Notes that a write is about to be attempted, for the first time or again.
    pub(crate) fn wants(&self) {
        self.0.lock().since.get_or_insert_with(Instant::now);
    }

    /// Notes that the database has carried out a write, or has refused it for its content.
    pub(crate) fn answers(&self) {
        let wanted = std::mem::take(&mut *self.0.lock());
        if wanted.is_told
            && let Some(since) = wanted.since
        {
            let seconds = since.elapsed().as_secs();
            info!(seconds, "the database takes writes again");
        }
    }

    /// Notes that a write has failed and will be retried.
    pub(crate) fn fails(&self) {
        // Called for its log line.
        self.is_well();
    }

    /// Returns whether writes get through at the moment. Logs a warning when they stop.
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

//! Restart budget: how often something may fail before its supervisor gives up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Failures within [`WINDOW`] that are answered with a restart. Erlang's supervisors allow 1 in 5 s. More are allowed
/// here, because one supervisor is responsible for thousands of rooms, and clients come back.
const RESTARTS_MAX: usize = 10;

pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Wait before the first restart; each further one within the window doubles it, up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(10);

/// Shorter than a request's wait for a supervisor that is being restarted: its client notices nothing.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// The failures of one child, or of one group of children.
#[derive(Debug, Default)]
pub struct RestartBudget {
    failures: VecDeque<Instant>,
}

/// Too many failures: the supervisor must give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed more than {RESTARTS_MAX} times in {} s", WINDOW.as_secs())]
pub struct BudgetExhausted;

impl RestartBudget {
    /// Records a failure. Returns the wait before the restart.
    pub fn spend(&mut self, now: Instant) -> Result<Duration, BudgetExhausted> {
        while let Some(first) = self.failures.front()
            && now.duration_since(*first) > WINDOW
        {
            self.failures.pop_front();
        }
        if self.failures.len() == RESTARTS_MAX {
            return Err(BudgetExhausted);
        }
        let doublings = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        self.failures.push_back(now);
        Ok(BACK_OFF
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(BACK_OFF_MAX))
    }

    /// Returns true if nothing failed within the window, so that the count can be forgotten.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.failures
            .back()
            .is_none_or(|last| now.duration_since(*last) > WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_the_eleventh_failure_in_a_minute_is_too_many() {
        let mut budget = RestartBudget::default();
        let start = Instant::now();

        let waits: Vec<_> = (0..RESTARTS_MAX)
            .map(|_| budget.spend(start).unwrap())
            .collect();

        assert_eq!(waits[..3], [10, 20, 40].map(Duration::from_millis));
        assert_eq!(waits[9], BACK_OFF_MAX);
        assert_eq!(budget.spend(start), Err(BudgetExhausted));
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut budget = RestartBudget::default();
        let start = Instant::now();
        for _ in 0..RESTARTS_MAX {
            budget.spend(start).unwrap();
        }

        let later = start + WINDOW + Duration::from_millis(1);

        assert!(budget.is_fresh(later));
        assert_eq!(budget.spend(later), Ok(BACK_OFF));
    }
}

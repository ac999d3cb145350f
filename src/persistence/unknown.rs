//! Tokens that were not found are worth a line in the log, but whoever makes them up is not worth one for each.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

/// The longest that one token's line stands for those after it.
const LOGGED_EVERY: Duration = Duration::from_secs(1);

/// Counts the tokens that nobody has.
#[derive(Debug, Default)]
pub(super) struct UnknownTokens(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    count: u64,
}

impl UnknownTokens {
    /// Logs a token that was not found after so many look-ups, at most one in a second, with the number of those
    /// before it that had no line.
    pub(super) fn tell(&self, hint: &str, look_ups: &str) {
        if let Some(untold) = self.next(Instant::now()) {
            warn!(
                token = hint,
                look_ups, untold, "a session token was not found"
            );
        }
    }

    /// How many were not told of; None if this one is not told of either.
    fn next(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let is_soon = state
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < LOGGED_EVERY);
        if is_soon {
            state.count += 1;
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_is_told_of_with_the_number_of_the_others() {
        let (tokens, now) = (UnknownTokens::default(), Instant::now());
        assert_eq!(tokens.next(now), Some(0));
        for _ in 0..1_000 {
            assert_eq!(tokens.next(now), None);
        }
        assert_eq!(tokens.next(now + LOGGED_EVERY), Some(1_000));
        assert_eq!(tokens.next(now + LOGGED_EVERY), None);
    }
}

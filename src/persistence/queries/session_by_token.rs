//! Lookup of sessions by their tokens. Unknown tokens are logged at a limited rate, so that made-up ones cannot flood
//! the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, warn};

use super::read;
use crate::id::TokenHash;
use crate::persistence::metric::ATTEMPTS;
use crate::persistence::{Persistence, ReadError, StoredSession};

/// The waits before a token that was not found is looked up again. A reply with a token must never be faster than the
/// token itself.
const TOKEN_WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// The condition for looking up a missing token again.
pub type Retries<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// The least time between two log lines about unknown tokens.
const LOGGED_EVERY: Duration = Duration::from_secs(1);

/// The count of unknown tokens, and the limit on their log lines.
#[derive(Debug, Default)]
pub(crate) struct UnknownTokens(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    count: u64,
}

impl Persistence {
    /// Finds a session by its token, and looks twice more before it returns none. `hint` is the part of the token
    /// that may be logged.
    pub async fn session_by_token(
        &self,
        hash: TokenHash,
        hint: &str,
    ) -> Result<Option<StoredSession>, ReadError> {
        self.session_by_token_while(hash, hint, &|| true).await
    }

    /// Finds a session like [`session_by_token`](Self::session_by_token), but looks again only if `retries` allows it
    /// after the first attempt.
    pub async fn session_by_token_while(
        &self,
        hash: TokenHash,
        hint: &str,
        retries: Retries<'_>,
    ) -> Result<Option<StoredSession>, ReadError> {
        let mut waits = TOKEN_WAITS.iter();
        for (attempt, lookups) in ATTEMPTS.into_iter().zip(&self.shared.metrics.lookups) {
            let readers = self.readers();
            let found = self
                .read(async move { read::session_by_token(&readers, hash).await })
                .await;
            let (outcome, lookups) = match &found {
                Ok(Some(_)) => ("found", &lookups.found),
                Ok(None) => ("missing", &lookups.missing),
                Err(_) => ("unavailable", &lookups.unavailable),
            };
            lookups.increment(1);
            match (found, waits.next()) {
                (Ok(None), Some(wait)) if attempt != "1" || retries() => {
                    debug!(token = hint, attempt, "a token was not found; retrying");
                    tokio::time::sleep(*wait).await;
                }
                (Ok(None), _) => {
                    self.shared.unknown_tokens.tell(hint, attempt);
                    return Ok(None);
                }
                (found, _) => {
                    if attempt != "1" {
                        warn!(
                            token = hint,
                            attempt, outcome, "a token took several look-ups"
                        );
                    }
                    return found;
                }
            }
        }
        Ok(None)
    }
}

impl UnknownTokens {
    /// Logs a token that was not found after `look_ups` attempts, at most once a second. The line has the number of
    /// unlogged tokens before it.
    pub(crate) fn tell(&self, hint: &str, look_ups: &str) {
        if let Some(untold) = self.next(Instant::now()) {
            warn!(
                token = hint,
                look_ups, untold, "a session token was not found"
            );
        }
    }

    /// Returns how many tokens were not logged before this one, or None if this one is not logged either.
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

//! Sessions are found by their tokens. Tokens that nobody has are worth a line in the log, but whoever makes them up is
//! not worth one for each.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{debug, warn};

use super::read;
use crate::id::TokenHash;
use crate::persistence::metric::ATTEMPTS;
use crate::persistence::{Persistence, ReadError, StoredSession};

/// Before a token is said to be unknown it is looked up again after these waits: a reply with a token must
/// never be faster than the token.
const TOKEN_WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// Whether a token that was not found is to be looked up again.
pub type Retries<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// The longest that one token's line stands for those after it.
const LOGGED_EVERY: Duration = Duration::from_secs(1);

/// Counts the tokens that nobody has.
#[derive(Debug, Default)]
pub(crate) struct UnknownTokens(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    count: u64,
}

impl Persistence {
    /// Finds a session by its token, asking twice more before saying that there is none. `hint` is the
    /// part of the token that may be logged.
    pub async fn session_by_token(
        &self,
        hash: TokenHash,
        hint: &str,
    ) -> Result<Option<StoredSession>, ReadError> {
        self.session_by_token_while(hash, hint, &|| true).await
    }

    /// The same, asking again only while `retries` allows it.
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
                    debug!(token = hint, attempt, "a token was not found, asking again");
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
    /// Logs a token that was not found after so many look-ups, at most one in a second, with the number of those
    /// before it that had no line.
    pub(crate) fn tell(&self, hint: &str, look_ups: &str) {
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

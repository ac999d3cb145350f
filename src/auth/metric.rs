//! Metrics of tokens and of the key set.

use metrics::{counter, gauge};

use super::token::TokenError;

/// Counts a token by its outcome.
pub(super) fn count_token<T>(checked: &Result<T, TokenError>) {
    let outcome = match checked {
        Ok(_) => "accepted",
        Err(error) => error.label(),
    };
    counter!("holdfast_jwts_total", "outcome" => outcome).increment(1);
}

/// Counts a fetch of the key set.
pub(super) fn count_refresh(is_done: bool) {
    let outcome = if is_done { "fetched" } else { "failed" };
    counter!("holdfast_key_set_fetches_total", "outcome" => outcome).increment(1);
}

/// Sets the number of keys in the set.
pub(super) fn count_keys(keys: usize) {
    gauge!("holdfast_key_set_keys").set(keys as f64);
}

//! Limits the look-ups of unknown session tokens per address: each wrong token costs three.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use metrics::Counter;
use parking_lot::Mutex;

use super::subscriber;

/// Wrong tokens of an address that are looked up again before they are refused as unknown. Past that, tokens are
/// looked up once. One look-up finds every valid token, so the limit keeps no player out.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("sixty is not zero");

/// Addresses remembered at one time, about 5 MB of them. In a full table, tokens of further addresses are looked up
/// once.
const ADDRESSES_MAX: usize = 65_536;

/// The time between two sweeps of a full table for addresses whose limit is fully restored.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The wrong session tokens of each address, over sockets and HTTP together: a GCRA. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WrongTokens(Arc<Table>);

#[derive(Debug)]
struct Table {
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    swept: Mutex<Instant>,
    limited: Counter,
}

impl Default for WrongTokens {
    /// Creates the table; call it after the metrics recorder is installed.
    fn default() -> WrongTokens {
        WrongTokens(Arc::new(Table {
            by_address: RateLimiter::keyed(Quota::per_minute(PER_MINUTE)),
            swept: Mutex::new(Instant::now()),
            limited: metrics::counter!("holdfast_wrong_tokens_limited_total"),
        }))
    }
}

impl WrongTokens {
    /// Returns a function that decides, at each call, whether to look up an unknown token of this address again.
    /// Without an address, where there is no socket, it always allows.
    pub fn retries_of(&self, address: Option<IpAddr>) -> impl Fn() -> bool + Send + Sync + 'static {
        let (table, address) = (Arc::clone(&self.0), address.map(subscriber));
        move || address.is_none_or(|address| table.allows(address))
    }
}

impl Table {
    fn allows(&self, address: IpAddr) -> bool {
        let is_allowed = self.has_room() && self.by_address.check_key(&address).is_ok();
        if !is_allowed {
            self.limited.increment(1);
        }
        is_allowed
    }

    fn has_room(&self) -> bool {
        if self.by_address.len() < ADDRESSES_MAX {
            return true;
        }
        let mut swept = self.swept.lock();
        if swept.elapsed() >= SWEEP_INTERVAL {
            self.by_address.retain_recent();
            *swept = Instant::now();
        }
        self.by_address.len() < ADDRESSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_sixty_tokens_looked_up_again_and_others_are_not_concerned() {
        let tokens = WrongTokens::default();
        let (mine, other) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let retries = tokens.retries_of(mine);
        for _ in 0..60 {
            assert!(retries());
        }
        assert!(!retries());
        assert!(!tokens.retries_of(mine)());
        assert!(tokens.retries_of(other)());
        assert!(tokens.retries_of(None)());
    }

    #[test]
    fn the_table_is_bounded() {
        let tokens = WrongTokens::default();
        for number in 0..70_000u32 {
            tokens.retries_of(Some(IpAddr::V4(number.into())))();
        }
        assert!(tokens.0.by_address.len() <= ADDRESSES_MAX);
    }
}

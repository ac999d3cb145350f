//! Rate limits by key: the generic cell rate algorithm (GCRA) of `governor`, over a bounded table.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;

use super::KEYS_MAX;
use super::network::{Networks, SITE_SHARE};
use super::table::Table;

/// The number of keys, some 100 KB, below which the table is not swept of fully restored ones.
const SWEPT_MIN: usize = 1_024;

/// The time between two sweeps of a full table.
const FULL_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type Limiter<K> = RateLimiter<K, Table<K>, MonotonicClock, NoOpMiddleware<Instant>>;

/// A rate limit for each key. A rate of 0 turns it off.
pub struct RateLimit<K: Hash + Eq + Clone> {
    limiter: Option<Limiter<K>>,
    swept: Mutex<Swept>,
}

/// The last sweep, and the number of keys that causes the next one: twice as many as it left.
#[derive(Debug)]
struct Swept {
    next: usize,
    at: Option<Instant>,
}

/// A rate limit for each address.
#[derive(Debug)]
pub struct AddressRateLimit {
    subscribers: RateLimit<IpNet>,
    sites: RateLimit<IpNet>,
}

impl<K: Hash + Eq + Clone> RateLimit<K> {
    /// Allows `rate` requests a minute, and `burst` at once.
    pub fn per_minute(rate: u32, burst: u32) -> RateLimit<K> {
        RateLimit::new(rate, Quota::per_minute, burst)
    }

    /// Allows `rate` requests a second, and `burst` at once.
    pub fn per_second(rate: u32, burst: u32) -> RateLimit<K> {
        RateLimit::new(rate, Quota::per_second, burst)
    }

    fn new(rate: u32, quota: fn(NonZeroU32) -> Quota, burst: u32) -> RateLimit<K> {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let limiter = NonZeroU32::new(rate).map(|rate| {
            let quota = quota(rate).allow_burst(burst);
            RateLimiter::new(quota, Table::default(), MonotonicClock)
        });
        RateLimit {
            limiter,
            swept: Mutex::new(Swept {
                next: SWEPT_MIN,
                at: None,
            }),
        }
    }

    /// Counts one request of a key.
    ///
    /// # Errors
    /// The time after which the key may try again. A refused request is not counted.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        self.sweep(limiter);
        limiter
            .check_key(key)
            .map_err(|later| later.wait_time_from(MonotonicClock.now()))
    }

    fn sweep(&self, limiter: &Limiter<K>) {
        let mut swept = self.swept.lock();
        let is_soon = swept
            .at
            .is_some_and(|at| at.elapsed() < FULL_SWEEP_INTERVAL);
        if limiter.len() < swept.next || (swept.next == KEYS_MAX && is_soon) {
            return;
        }
        limiter.retain_recent();
        limiter.shrink_to_fit();
        *swept = Swept {
            next: (2 * limiter.len()).clamp(SWEPT_MIN, KEYS_MAX),
            at: Some(Instant::now()),
        };
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for RateLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("is_on", &self.limiter.is_some())
            .finish_non_exhaustive()
    }
}

impl AddressRateLimit {
    /// Allows each address `rate` requests a minute, and `burst` at once.
    pub fn per_minute(rate: u32, burst: u32) -> AddressRateLimit {
        AddressRateLimit {
            subscribers: RateLimit::per_minute(rate, burst),
            sites: RateLimit::per_minute(
                rate.saturating_mul(SITE_SHARE),
                burst.saturating_mul(SITE_SHARE),
            ),
        }
    }

    /// Counts one request of an address.
    ///
    /// # Errors
    /// The time after which the address may try again.
    pub fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let networks = Networks::of(address);
        self.subscribers.take(&networks.subscriber)?;
        match &networks.site {
            Some(site) => self.sites.take(site),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_and_then_waits_while_others_go_on() {
        let limit = AddressRateLimit::per_minute(6, 3);
        let address = ip("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(limit.take(address), Ok(()));
        }
        let wait = limit.take(address).unwrap_err();
        assert!(wait <= Duration::from_secs(10), "{wait:?}");
        assert!(wait > Duration::from_secs(5), "{wait:?}");
        assert_eq!(limit.take(ip("192.0.2.2")), Ok(()));
    }

    #[test]
    fn the_subscribers_of_one_site_share_sixteen_times_as_much() {
        let limit = AddressRateLimit::per_minute(1, 1);
        let subscriber = |number: u32| ip(&format!("2001:db8:1:{number:x}::1"));
        for number in 0..SITE_SHARE {
            assert_eq!(limit.take(subscriber(number)), Ok(()), "{number}");
        }
        assert!(limit.take(subscriber(SITE_SHARE)).is_err());
        assert_eq!(limit.take(ip("2001:db8:2::1")), Ok(()));
    }

    #[test]
    fn a_rate_of_zero_is_off() {
        let limit = RateLimit::per_second(0, 0);
        assert!((0..1_000).all(|_| limit.take(&"anybody").is_ok()));
    }

    #[test]
    fn a_full_table_refuses_nobody_and_grows_no_further() {
        let limit = RateLimit::per_minute(1, 1);
        for number in 0..KEYS_MAX + 1_000 {
            assert_eq!(limit.take(&number), Ok(()));
        }
        assert_eq!(limit.limiter.unwrap().len(), KEYS_MAX);
    }

    #[test]
    fn keys_that_are_as_good_as_new_are_forgotten() {
        // Each limit is fully restored after a microsecond.
        let limit = RateLimit::per_second(1_000_000, 1);
        for number in 0..10 * SWEPT_MIN {
            limit.take(&number).unwrap();
        }
        let left = limit.limiter.as_ref().unwrap().len();
        assert!(left <= 2 * SWEPT_MIN, "{left}");
    }
}

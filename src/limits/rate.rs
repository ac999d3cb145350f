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

/// The longest that a key waits after a charge, besides its burst.
const DEBT_MAX: Duration = Duration::from_secs(10);

type Limiter<K> = RateLimiter<K, Table<K>, MonotonicClock, NoOpMiddleware<Instant>>;

/// A rate limit for each key. A rate of 0 turns it off.
pub struct RateLimit<K: Hash + Eq + Clone> {
    limiter: Option<Limiter<K>>,
    /// The states of the limiter: when each key is fully restored, in nanoseconds after the start.
    table: Table<K>,
    started: Instant,
    /// The time in which one request is restored.
    interval: Duration,
    /// The time in which a whole burst is restored.
    burst: Duration,
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
        let (table, started) = (Table::default(), Instant::now());
        let quota = NonZeroU32::new(rate).map(|rate| quota(rate).allow_burst(burst));
        let interval = quota.map_or(Duration::ZERO, |quota| quota.replenish_interval());
        RateLimit {
            limiter: quota.map(|quota| RateLimiter::new(quota, table.clone(), MonotonicClock)),
            table,
            started,
            interval,
            burst: interval.saturating_mul(burst.get()),
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

    /// Counts more requests of a key for one that was allowed, even if that is too many: the key waits for them, 10 s
    /// at the most.
    pub fn charge(&self, key: &K, count: u32) {
        let now = self.started.elapsed();
        let most = nanos(now + self.burst + DEBT_MAX);
        let cost = nanos(self.interval.saturating_mul(count));
        self.table.change(key, |full_at| {
            full_at.max(nanos(now)).saturating_add(cost).min(most)
        });
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

    /// Allows each address `rate` requests a second, and `burst` at once.
    pub fn per_second(rate: u32, burst: u32) -> AddressRateLimit {
        AddressRateLimit {
            subscribers: RateLimit::per_second(rate, burst),
            sites: RateLimit::per_second(
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

    /// Counts more requests of an address for one that was allowed.
    pub fn charge(&self, address: IpAddr, count: u32) {
        let networks = Networks::of(address);
        self.subscribers.charge(&networks.subscriber, count);
        if let Some(site) = &networks.site {
            self.sites.charge(site, count);
        }
    }
}

/// Returns a time as the limiter counts it.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
    fn a_charge_is_waited_for_ten_seconds_at_the_most() {
        let limit = RateLimit::per_second(10, 20);
        let seconds = |key| limit.take(&key).unwrap_err().as_secs_f64();
        for key in ["a", "b"] {
            limit.take(&key).unwrap();
        }
        limit.charge(&"a", 39);
        assert!(seconds("a") < 2.2, "{}", seconds("a"));
        limit.charge(&"b", 100_000);
        assert!(seconds("b") < 10.2, "{}", seconds("b"));
        // Not counted before: nothing to charge.
        limit.charge(&"c", 100_000);
        assert_eq!(limit.take(&"c"), Ok(()));
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

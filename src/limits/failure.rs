//! Limits how often each address may fail: fixed windows, in which an attempt is reserved before it is made.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

use super::KEYS_MAX;
use super::network::{Networks, SITE_SHARE};

/// The window of a failure limit. It begins with the network's first failure.
const WINDOW: Duration = Duration::from_mins(1);

/// The longest wait for attempts under way, which may all succeed: shorter than the client's own timeout.
const WAIT_TIMEOUT: Duration = Duration::from_secs(2);

/// A limit on the failures of each address per minute. Cheap to clone.
///
/// An attempt takes a place before it is made and returns it on success. A thousand concurrent attempts thus fail no
/// more often than a thousand in a row.
#[derive(Debug, Clone)]
pub struct FailureLimit {
    most: u32,
    table: Arc<Mutex<Table>>,
}

/// An attempt under way. Dropping it counts no failure.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    limit: FailureLimit,
    places: [Option<Place>; 2],
}

/// The reason why no attempt can be made at the moment.
#[derive(Debug)]
enum Blocked {
    /// The network has failed too often, and may try again after this time.
    Exhausted(Duration),
    /// All remaining attempts are under way.
    Busy(Arc<Semaphore>),
}

#[derive(Debug)]
struct Place {
    network: IpNet,
    places: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Default)]
struct Table {
    windows: HashMap<IpNet, Window>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    most: u32,
    /// None before the first failure.
    began: Option<Instant>,
    failures: u32,
    /// The attempts that remain. Closed once the limit is reached.
    places: Arc<Semaphore>,
}

impl FailureLimit {
    /// Allows `per_minute` failures from each address.
    pub fn new(per_minute: u32) -> FailureLimit {
        FailureLimit {
            most: per_minute,
            table: Arc::default(),
        }
    }

    /// Reserves an attempt without waiting.
    ///
    /// # Errors
    /// The time after which the address may try again.
    pub fn try_begin(&self, address: IpAddr) -> Result<Attempt, Duration> {
        let attempt = self.reserve(address, Instant::now());
        attempt.map_err(|blocked| match blocked {
            Blocked::Exhausted(rest) => rest,
            Blocked::Busy(_) => WAIT_TIMEOUT,
        })
    }

    /// Reserves an attempt. If all remaining attempts are under way, waits until one of them succeeds.
    ///
    /// # Errors
    /// The time after which the address may try again.
    pub async fn begin(&self, address: IpAddr) -> Result<Attempt, Duration> {
        let Networks { subscriber, site } = Networks::of(address);
        let waiting = async {
            // Dropping it half-way returns the places it has.
            let mut attempt = Attempt {
                limit: self.clone(),
                places: [None, None],
            };
            attempt.places[0] = Some(self.place(subscriber, self.most).await?);
            if let Some(site) = site {
                let most = self.most.saturating_mul(SITE_SHARE);
                attempt.places[1] = Some(self.place(site, most).await?);
            }
            Ok(attempt)
        };
        timeout(WAIT_TIMEOUT, waiting)
            .await
            .unwrap_or(Err(WAIT_TIMEOUT))
    }

    async fn place(&self, network: IpNet, most: u32) -> Result<Place, Duration> {
        let reserved = self.table.lock().reserve(network, most, Instant::now());
        let places = match reserved {
            Ok(place) => return Ok(place),
            Err(Blocked::Exhausted(rest)) => return Err(rest),
            Err(Blocked::Busy(places)) => places,
        };
        match Arc::clone(&places).acquire_owned().await {
            Ok(permit) => Ok(Place {
                network,
                places,
                permit: Some(permit),
            }),
            // The attempts under way have failed.
            Err(_closed) => Err(self.table.lock().rest(network, Instant::now())),
        }
    }

    fn reserve(&self, address: IpAddr, now: Instant) -> Result<Attempt, Blocked> {
        let Networks { subscriber, site } = Networks::of(address);
        let mut table = self.table.lock();
        table.sweep(now);
        let mut first = table.reserve(subscriber, self.most, now)?;
        let second = match site {
            Some(site) => {
                let reserved = table.reserve(site, self.most.saturating_mul(SITE_SHARE), now);
                if reserved.is_err() {
                    drop(first.permit.take());
                    table.give_back(&first);
                }
                Some(reserved?)
            }
            None => None,
        };
        Ok(Attempt {
            limit: self.clone(),
            places: [Some(first), second],
        })
    }
}

impl Attempt {
    /// Counts the attempt as a failure.
    pub fn failed(mut self) {
        self.failed_at(Instant::now());
    }

    fn failed_at(&mut self, now: Instant) {
        let mut table = self.limit.table.lock();
        for mut place in self.places.iter_mut().filter_map(Option::take) {
            if let Some(permit) = place.permit.take() {
                permit.forget();
            }
            table.fail(&place, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut table = self.limit.table.lock();
        for mut place in self.places.iter_mut().filter_map(Option::take) {
            drop(place.permit.take());
            table.give_back(&place);
        }
    }
}

impl Table {
    fn reserve(&mut self, network: IpNet, most: u32, now: Instant) -> Result<Place, Blocked> {
        if !self.windows.contains_key(&network) {
            self.make_room();
        }
        let window = self.windows.entry(network);
        let window = window.or_insert_with(|| Window::new(most));
        if window.began.is_some() && window.rest(now).is_none() {
            *window = Window::new(most);
        }
        let places = Arc::clone(&window.places);
        match Arc::clone(&places).try_acquire_owned() {
            Ok(permit) => Ok(Place {
                network,
                places,
                permit: Some(permit),
            }),
            Err(TryAcquireError::Closed) => {
                Err(Blocked::Exhausted(window.rest(now).unwrap_or(WINDOW)))
            }
            Err(TryAcquireError::NoPermits) => Err(Blocked::Busy(places)),
        }
    }

    /// Returns the rest of the window of a network that has failed too often.
    fn rest(&self, network: IpNet, now: Instant) -> Duration {
        let window = self.windows.get(&network);
        window
            .and_then(|window| window.rest(now))
            .unwrap_or(WAIT_TIMEOUT)
    }

    fn fail(&mut self, place: &Place, now: Instant) {
        let window = self.windows.get_mut(&place.network);
        let Some(window) = window.filter(|window| window.is_of(place)) else {
            // The window in which the attempt began is over.
            return;
        };
        window.began.get_or_insert(now);
        window.failures += 1;
        if window.failures >= window.most {
            window.places.close();
        }
    }

    /// Drops a network that has not failed, once no attempt of it is under way.
    fn give_back(&mut self, place: &Place) {
        if self.windows.get(&place.network).is_some_and(|window| {
            window.is_of(place) && window.began.is_none() && window.is_unused()
        }) {
            self.windows.remove(&place.network);
        }
    }

    /// Drops, once in each window, the networks whose window is over.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= WINDOW {
            self.swept = Some(now);
            self.windows
                .retain(|_, window| window.rest(now).is_some() || window.is_under_way());
            self.windows.shrink_to_fit();
        }
    }

    /// Drops an arbitrary network from a full table, so that a full table never refuses clients without failures.
    fn make_room(&mut self) {
        if self.windows.len() >= KEYS_MAX
            && let Some(any) = self.windows.keys().next().copied()
        {
            self.windows.remove(&any);
        }
    }
}

impl Window {
    fn new(most: u32) -> Window {
        Window {
            most,
            began: None,
            failures: 0,
            places: Arc::new(Semaphore::new(places(most))),
        }
    }

    /// Returns the rest of the window; None after its end, and before its first failure.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = WINDOW.saturating_sub(now.saturating_duration_since(self.began?));
        (!rest.is_zero()).then_some(rest)
    }

    fn is_of(&self, place: &Place) -> bool {
        Arc::ptr_eq(&self.places, &place.places)
    }

    /// Returns whether attempts are under way before the first failure.
    fn is_under_way(&self) -> bool {
        self.began.is_none() && !self.is_unused()
    }

    fn is_unused(&self) -> bool {
        self.places.available_permits() == places(self.most)
    }
}

fn places(most: u32) -> usize {
    usize::try_from(most).map_or(Semaphore::MAX_PERMITS, |most| {
        most.min(Semaphore::MAX_PERMITS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Fails at once; returns the remaining wait if no attempt is left.
    fn fails(limit: &FailureLimit, address: IpAddr, now: Instant) -> Result<(), Duration> {
        match limit.reserve(address, now) {
            Ok(mut attempt) => {
                attempt.failed_at(now);
                Ok(())
            }
            Err(Blocked::Exhausted(rest)) => Err(rest),
            Err(Blocked::Busy(_)) => panic!("nothing is under way"),
        }
    }

    #[test]
    fn an_address_is_refused_for_the_rest_of_its_minute_and_no_other_is() {
        let limit = FailureLimit::new(2);
        let now = Instant::now();
        let guesser = ip("192.0.2.1");
        assert_eq!(fails(&limit, guesser, now), Ok(()));
        assert_eq!(
            fails(&limit, guesser, now + Duration::from_secs(10)),
            Ok(())
        );

        let late = now + Duration::from_secs(59);
        assert_eq!(fails(&limit, guesser, late), Err(Duration::from_secs(1)));
        assert_eq!(fails(&limit, ip("192.0.2.2"), late), Ok(()));
        assert_eq!(fails(&limit, guesser, now + WINDOW), Ok(()));
        assert_eq!(fails(&limit, guesser, now + WINDOW), Ok(()));
        assert!(fails(&limit, guesser, now + WINDOW).is_err());
    }

    #[test]
    fn one_ipv6_subscriber_counts_as_one_and_one_site_as_sixteen() {
        let limit = FailureLimit::new(1);
        let now = Instant::now();
        let subscriber = |number: u32| ip(&format!("2001:db8:1:{number:x}::1"));
        assert_eq!(fails(&limit, subscriber(0), now), Ok(()));
        assert!(fails(&limit, ip("2001:db8:1:0:3:4:5:6"), now).is_err());
        for number in 1..SITE_SHARE {
            assert_eq!(fails(&limit, subscriber(number), now), Ok(()), "{number}");
        }
        assert!(fails(&limit, subscriber(SITE_SHARE), now).is_err());
        assert_eq!(fails(&limit, ip("2001:db8:2::1"), now), Ok(()));
    }

    #[test]
    fn what_succeeds_counts_for_nothing_and_is_forgotten() {
        let limit = FailureLimit::new(1);
        for _ in 0..100 {
            drop(limit.try_begin(ip("2001:db8::1")).unwrap());
        }
        assert!(limit.table.lock().windows.is_empty());
    }

    #[tokio::test]
    async fn a_thousand_at_once_fail_no_more_often_than_a_thousand_in_a_row() {
        let limit = FailureLimit::new(30);
        let address = ip("192.0.2.1");
        let attempts = (0..1_000).map(|_| async {
            let attempt = limit.begin(address).await?;
            tokio::task::yield_now().await;
            attempt.failed();
            Ok::<(), Duration>(())
        });

        let made = futures_util::future::join_all(attempts).await;

        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 30);
    }

    #[tokio::test]
    async fn whoever_is_right_waits_for_those_under_way_and_is_let_in() {
        let limit = FailureLimit::new(3);
        let address = ip("192.0.2.1");
        limit.begin(address).await.unwrap().failed();
        let attempts = (0..1_000).map(|_| async {
            let attempt = limit.begin(address).await?;
            tokio::task::yield_now().await;
            drop(attempt);
            Ok::<(), Duration>(())
        });

        let made = futures_util::future::join_all(attempts).await;

        assert!(made.iter().all(Result::is_ok));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let limit = FailureLimit::new(1);
        let now = Instant::now();
        for number in 0..70_000u32 {
            fails(&limit, IpAddr::V4(number.into()), now).unwrap();
        }
        assert_eq!(limit.table.lock().windows.len(), KEYS_MAX);
        fails(&limit, ip("192.0.2.1"), now + WINDOW).unwrap();
        assert_eq!(limit.table.lock().windows.len(), 1);
    }
}

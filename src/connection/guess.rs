//! Who asks for rooms that do not exist: codes are short enough to be typed, so they must not be
//! tried by the million.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::wire::{Reason, Refusal};

/// The time that `client.wrong_codes_per_minute` is about. It begins with an address's first wrong code.
const WINDOW: Duration = Duration::from_mins(1);

/// Addresses that are remembered at one time, about 4 MB of them. Past it another one is forgotten,
/// which an attacker pays for with a wrong code of a new address.
const ADDRESSES_MAX: usize = 65_536;

/// Bits of an IPv6 address that stand for one subscriber: providers hand out a /64 at the least.
const SUBSCRIBER_BITS: u32 = 64;

/// The wrong room codes of each address. Cheap to clone.
#[derive(Clone)]
pub struct WrongCodes {
    most: u32,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    by_address: HashMap<IpAddr, Count>,
    swept: Option<Instant>,
}

struct Count {
    began: Instant,
    wrong: u32,
}

impl WrongCodes {
    /// Admits `per_minute` wrong codes from each address.
    pub fn new(per_minute: u32) -> WrongCodes {
        WrongCodes {
            most: per_minute,
            table: Arc::default(),
        }
    }

    /// Asks for a room on behalf of an address, and counts it if there is no such room.
    ///
    /// # Errors
    /// RATE_LIMITED, before anything is looked up, if the address has asked for too many.
    pub async fn guard<T>(
        &self,
        address: IpAddr,
        asking: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        self.check(address)?;
        let asked = asking.await;
        if matches!(&asked, Err(refusal) if refusal.reason == Reason::RoomNotFound) {
            self.count(address);
        }
        asked
    }

    /// Refuses an address that has asked for too many rooms that do not exist.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        match self.rest(address, Instant::now()) {
            None => Ok(()),
            Some(rest) => {
                metrics::counter!("holdfast_wrong_codes_limited_total").increment(1);
                Err(Refusal {
                    retry_after: Some(rest),
                    ..Refusal::new(
                        Reason::RateLimited,
                        "too many room codes from this address were wrong; try again in a minute",
                    )
                })
            }
        }
    }

    /// A room that was asked for does not exist.
    pub(super) fn count(&self, address: IpAddr) {
        self.count_at(address, Instant::now());
    }

    /// How long the address is refused still; None if it is not.
    fn rest(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let table = self.table.lock();
        let count = table.by_address.get(&subscriber(address))?;
        let rest = count.rest(now)?;
        (count.wrong >= self.most).then_some(rest)
    }

    fn count_at(&self, address: IpAddr, now: Instant) {
        let mut table = self.table.lock();
        table.sweep(now);
        let address = subscriber(address);
        if !table.by_address.contains_key(&address) {
            table.make_room();
        }
        let fresh = || Count {
            began: now,
            wrong: 0,
        };
        let count = table.by_address.entry(address).or_insert_with(fresh);
        if count.rest(now).is_none() {
            *count = fresh();
        }
        count.wrong = count.wrong.saturating_add(1);
    }
}

impl Count {
    fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = WINDOW.saturating_sub(now.saturating_duration_since(self.began));
        (!rest.is_zero()).then_some(rest)
    }
}

impl Table {
    /// Forgets, once in each window, those whose window is over.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= WINDOW {
            self.swept = Some(now);
            self.by_address.retain(|_, count| count.rest(now).is_some());
            self.by_address.shrink_to_fit();
        }
    }

    /// A full table forgets any one, so that it is never a reason to refuse those who guess nothing.
    fn make_room(&mut self) {
        if self.by_address.len() >= ADDRESSES_MAX
            && let Some(any) = self.by_address.keys().next().copied()
        {
            self.by_address.remove(&any);
        }
    }
}

impl fmt::Debug for WrongCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrongCodes")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// What counts as one address where something is limited per address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let mask = u128::MAX << (u128::BITS - SUBSCRIBER_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
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
    fn an_address_is_refused_for_the_rest_of_its_minute_and_no_other_is() {
        let codes = WrongCodes::new(2);
        let now = Instant::now();
        let guesser = ip("192.0.2.1");
        codes.count_at(guesser, now);
        assert_eq!(codes.rest(guesser, now), None);
        codes.count_at(guesser, now + Duration::from_secs(10));

        let late = now + Duration::from_secs(59);
        assert_eq!(codes.rest(guesser, late), Some(Duration::from_secs(1)));
        assert_eq!(codes.rest(ip("192.0.2.2"), late), None);
        assert_eq!(codes.rest(guesser, now + WINDOW), None);
        codes.count_at(guesser, now + WINDOW);
        assert_eq!(codes.rest(guesser, now + WINDOW), None);
    }

    #[test]
    fn one_ipv6_network_guesses_as_one() {
        let codes = WrongCodes::new(1);
        let now = Instant::now();
        codes.count_at(ip("2001:db8:1:2:3:4:5:6"), now);
        assert!(codes.rest(ip("2001:db8:1:2::1"), now).is_some());
        assert!(codes.rest(ip("2001:db8:1:3::1"), now).is_none());
        codes.count_at(ip("::ffff:192.0.2.1"), now);
        assert!(codes.rest(ip("192.0.2.1"), now).is_some());
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let codes = WrongCodes::new(1);
        let now = Instant::now();
        for number in 0..70_000u32 {
            codes.count_at(IpAddr::V4(number.into()), now);
        }
        assert_eq!(codes.table.lock().by_address.len(), ADDRESSES_MAX);
        codes.count_at(ip("192.0.2.1"), now + WINDOW);
        assert_eq!(codes.table.lock().by_address.len(), 1);
    }
}

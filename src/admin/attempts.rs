//! Rate limit on wrong admin tokens per address, so that a token cannot be guessed by brute force.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The most wrong tokens of an address in one window: enough for typing errors, too few for programs.
const WRONG_MAX: u32 = 5;

/// A fixed window: it begins with an address's first wrong token.
const WINDOW: Duration = Duration::from_mins(1);

/// Addresses that are tracked at one time, about 300 KB of them. Beyond it any entry is dropped.
const ADDRESSES_MAX: usize = 4096;

/// The count of wrong tokens of each address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_address: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Debug)]
struct Count {
    began: Instant,
    wrong: u32,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Right,
    Wrong,
    /// Not checked: try again after this time.
    Limited(Duration),
}

impl Attempts {
    /// Tries a token for an address. Check and count are one step, so that parallel attempts
    /// count like sequential ones.
    pub(super) fn attempt(
        &self,
        address: IpAddr,
        now: Instant,
        is_right: impl FnOnce() -> bool,
    ) -> Attempt {
        let mut by_address = self.by_address.lock();
        let count = by_address.get(&address).filter(|count| count.lasts(now));
        if let Some(count) = count.filter(|count| count.wrong >= WRONG_MAX) {
            let passed = now.saturating_duration_since(count.began);
            return Attempt::Limited(WINDOW.saturating_sub(passed));
        }
        if is_right() {
            return Attempt::Right;
        }
        make_room(&mut by_address, now);
        let fresh = || Count {
            began: now,
            wrong: 0,
        };
        let count = by_address.entry(address).or_insert_with(fresh);
        if !count.lasts(now) {
            *count = fresh();
        }
        count.wrong += 1;
        Attempt::Wrong
    }
}

impl Count {
    fn lasts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < WINDOW
    }
}

fn make_room(by_address: &mut HashMap<IpAddr, Count>, now: Instant) {
    if by_address.len() < ADDRESSES_MAX {
        return;
    }
    by_address.retain(|_, count| count.lasts(now));
    if by_address.len() >= ADDRESSES_MAX
        && let Some(other) = by_address.keys().next().copied()
    {
        by_address.remove(&other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn an_address_that_guesses_waits_and_no_other_does() {
        let attempts = Attempts::default();
        let start = Instant::now();
        for _ in 0..WRONG_MAX {
            assert_eq!(attempts.attempt(ip(1), start, || false), Attempt::Wrong);
        }

        let later = start + WINDOW / 2;
        let limited = attempts.attempt(ip(1), later, || true);
        assert_eq!(limited, Attempt::Limited(WINDOW / 2));
        assert_eq!(attempts.attempt(ip(2), later, || true), Attempt::Right);
        assert_eq!(
            attempts.attempt(ip(1), start + WINDOW, || true),
            Attempt::Right
        );
        assert_eq!(
            attempts.attempt(ip(1), start + WINDOW, || false),
            Attempt::Wrong
        );
    }

    #[test]
    fn a_right_token_is_never_counted() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(attempts.attempt(ip(1), now, || true), Attempt::Right);
        }
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..10_000 {
            attempts.attempt(ip(number), now, || false);
        }
        assert_eq!(attempts.by_address.lock().len(), ADDRESSES_MAX);
    }
}

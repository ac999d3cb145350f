//! Limits guesses of the secrets that operators and game servers share with the hub, per address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::Counter;
use parking_lot::Mutex;

use super::subscriber;
use crate::wire::{Reason, Refusal};

/// Wrong secrets that an address may present within [`WINDOW`]: far more than a wrong configuration sends before an
/// operator reads its log. At this rate an address needs 10^31 years for 128 random bits.
const WRONG_MAX: u32 = 60;

/// A fixed window that begins with an address's first wrong secret.
const WINDOW: Duration = Duration::from_mins(1);

/// The time for which an address that has presented a right secret is exempt: others behind it cannot lock it out.
const TRUSTED_FOR: Duration = Duration::from_hours(1);

/// Addresses remembered at one time, about 5 MB of them. A full table drops an arbitrary one, which costs an attacker
/// a new address.
const ADDRESSES_MAX: usize = 65_536;

/// The wrong secrets of each address. Cheap to clone.
#[derive(Clone)]
pub struct SecretGuesses {
    table: Arc<Mutex<Table>>,
    limited: Counter,
}

#[derive(Default)]
struct Table {
    by_address: HashMap<IpAddr, Tries>,
    swept: Option<Instant>,
}

struct Tries {
    began: Instant,
    wrong: u32,
    /// The time of the last right secret from this address.
    trusted: Option<Instant>,
}

/// The outcome of presenting a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    /// Refused for this remaining time, whatever the secret is.
    Limited(Duration),
}

impl SecretGuesses {
    /// Creates the limit for one sort of secret, the label in the metrics.
    pub fn new(secret: &'static str) -> SecretGuesses {
        SecretGuesses {
            table: Arc::default(),
            limited: metrics::counter!("holdfast_secret_guesses_limited_total", "secret" => secret),
        }
    }

    /// Counts a secret presented by `address`, and returns whether it is right. A request without a socket has no
    /// address and no limit.
    ///
    /// # Errors
    /// RATE_LIMITED if the address has presented too many wrong ones: for the rest of the window a right one is
    /// refused as well, unless the address is exempt.
    pub fn judge(&self, address: Option<IpAddr>, is_right: bool) -> Result<bool, Refusal> {
        let Some(address) = address else {
            return Ok(is_right);
        };
        match self.judge_at(subscriber(address), is_right, Instant::now()) {
            Verdict::Right => Ok(true),
            Verdict::Wrong => Ok(false),
            Verdict::Limited(rest) => {
                self.limited.increment(1);
                let detail = format!(
                    "more than {WRONG_MAX} secrets from this address were wrong; try again in a minute"
                );
                Err(Refusal {
                    retry_after: Some(rest),
                    ..Refusal::new(Reason::RateLimited, detail)
                })
            }
        }
    }

    fn judge_at(&self, address: IpAddr, is_right: bool, now: Instant) -> Verdict {
        let mut table = self.table.lock();
        table.sweep(now);
        table.make_room_for(address);
        let tries = table
            .by_address
            .entry(address)
            .or_insert_with(|| Tries::new(now));
        let verdict = tries.judge(is_right, now);
        // Only an entry that limits or exempts its address is kept.
        if !tries.is_of_use(now) {
            table.by_address.remove(&address);
        }
        verdict
    }
}

impl Tries {
    fn new(now: Instant) -> Tries {
        Tries {
            began: now,
            wrong: 0,
            trusted: None,
        }
    }

    fn judge(&mut self, is_right: bool, now: Instant) -> Verdict {
        let rest = WINDOW.saturating_sub(now.saturating_duration_since(self.began));
        if rest.is_zero() {
            (self.began, self.wrong) = (now, 0);
        }
        let is_over = self.wrong >= WRONG_MAX;
        if is_right && (!is_over || self.is_trusted(now)) {
            self.trusted = Some(now);
            return Verdict::Right;
        }
        if is_over {
            return Verdict::Limited(rest);
        }
        self.wrong += 1;
        Verdict::Wrong
    }

    fn is_trusted(&self, now: Instant) -> bool {
        self.trusted
            .is_some_and(|since| now.saturating_duration_since(since) < TRUSTED_FOR)
    }

    fn is_of_use(&self, now: Instant) -> bool {
        let is_counting = self.wrong > 0 && now.saturating_duration_since(self.began) < WINDOW;
        is_counting || self.is_trusted(now)
    }
}

impl Table {
    /// Drops, once in each window, the addresses that need no entry any more.
    fn sweep(&mut self, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= WINDOW {
            self.swept = Some(now);
            self.by_address.retain(|_, tries| tries.is_of_use(now));
            self.by_address.shrink_to_fit();
        }
    }

    fn make_room_for(&mut self, address: IpAddr) {
        if self.by_address.len() >= ADDRESSES_MAX
            && !self.by_address.contains_key(&address)
            && let Some(any) = self.by_address.keys().next().copied()
        {
            self.by_address.remove(&any);
        }
    }
}

impl fmt::Debug for SecretGuesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guesses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn guess_wrongly(guesses: &SecretGuesses, address: IpAddr, now: Instant) {
        for _ in 0..WRONG_MAX {
            assert_eq!(guesses.judge_at(address, false, now), Verdict::Wrong);
        }
    }

    #[test]
    fn an_address_that_guesses_is_refused_a_right_secret_too_until_its_minute_is_over() {
        let (guesses, now) = (SecretGuesses::new("api_key"), Instant::now());
        let guesser = ip("192.0.2.1");
        guess_wrongly(&guesses, guesser, now);

        let late = now + Duration::from_secs(50);
        let limited = Verdict::Limited(Duration::from_secs(10));
        assert_eq!(guesses.judge_at(guesser, false, late), limited);
        assert_eq!(guesses.judge_at(guesser, true, late), limited);
        let other = ip("192.0.2.2");
        assert_eq!(guesses.judge_at(other, true, late), Verdict::Right);
        assert_eq!(
            guesses.judge_at(guesser, true, now + WINDOW),
            Verdict::Right
        );
    }

    #[test]
    fn a_game_server_is_not_kept_out_by_a_guesser_behind_the_same_address() {
        let (guesses, now) = (SecretGuesses::new("api_key"), Instant::now());
        let shared = ip("192.0.2.1");
        assert_eq!(guesses.judge_at(shared, true, now), Verdict::Right);
        guess_wrongly(&guesses, shared, now);

        assert_eq!(
            guesses.judge_at(shared, false, now),
            Verdict::Limited(WINDOW)
        );
        assert_eq!(guesses.judge_at(shared, true, now), Verdict::Right);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let (guesses, now) = (SecretGuesses::new("api_key"), Instant::now());
        for number in 0..70_000u32 {
            guesses.judge_at(IpAddr::V4(number.into()), false, now);
        }
        assert_eq!(guesses.table.lock().by_address.len(), ADDRESSES_MAX);
        guesses.judge_at(ip("192.0.2.1"), false, now + WINDOW);
        assert_eq!(guesses.table.lock().by_address.len(), 1);
    }
}

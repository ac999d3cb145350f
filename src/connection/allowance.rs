//! How much one connection may say, and how long it is borne with when it says more.

use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::MonotonicClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Seconds of silence that a client may make up for at once.
const BURST: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

/// Seconds' worth of commands that may be refused in a row: a bug in a game is borne with, a flood is not.
const REFUSALS: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

/// What a client may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    commands: Bucket,
    /// What may still be refused: as many per second as are allowed, so that only one who sends more than
    /// twice that uses it up.
    refusals: Bucket,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    TooFast,
    /// The client does not hear that it is too fast.
    Flood,
}

impl Allowance {
    pub(super) fn new(per_second: u32) -> Allowance {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let bucket = |seconds: NonZeroU32| {
            let quota = Quota::per_second(rate).allow_burst(rate.saturating_mul(seconds));
            RateLimiter::direct_with_clock(quota, MonotonicClock)
        };
        Allowance {
            commands: bucket(BURST),
            refusals: bucket(REFUSALS),
        }
    }

    /// Counts one command.
    pub(super) fn take(&self) -> Verdict {
        if self.commands.check().is_ok() {
            Verdict::Allowed
        } else if self.refusals.check().is_ok() {
            Verdict::TooFast
        } else {
            Verdict::Flood
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_then_refused_and_at_last_a_flood() {
        // So slow that nothing is given back while the test runs.
        let allowance = Allowance::new(1);

        let verdicts: Vec<Verdict> = (0..14).map(|_| allowance.take()).collect();

        assert_eq!(verdicts[..2], [Verdict::Allowed; 2]);
        assert_eq!(verdicts[2..12], [Verdict::TooFast; 10]);
        assert_eq!(verdicts[12..], [Verdict::Flood; 2]);
    }
}

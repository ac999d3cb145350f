//! Limits the commands and bytes of one connection, and decides when repeated violations close it.

use std::time::{Duration, Instant};

use crate::config::ClientConfig;

/// The bursts of commands and of published bytes: the silence that a client may catch up on at once.
const BURST: Duration = Duration::from_secs(2);
const BYTES_BURST: Duration = Duration::from_secs(4);

/// Seconds' worth of commands that may be refused in a row: a bug in a game is tolerated, a flood is not.
const REFUSALS: Duration = Duration::from_secs(10);

/// The longest overdraft of a bucket: no answer blocks its client for longer.
const DEBT_MAX: Duration = Duration::from_secs(10);

/// Recoveries up to this many full queues cost nothing: as much as a player's rooms keep by default.
const FREE_QUEUES: usize = 4;

/// Bytes of an answer that cost as much as one command.
const BYTES_OF_A_COMMAND: usize = 1 << 10;

/// The rate limits of a client.
#[derive(Debug)]
pub(super) struct Allowance {
    commands: Bucket,
    /// Commands that may still be refused: as many per second as are allowed, so that only a client at more than
    /// twice the limit uses them up.
    refusals: Bucket,
    /// Bytes that the client publishes to others.
    published: Bucket,
    /// Bytes of recoveries that are still free: a returning client recovers each of its rooms once.
    free: usize,
}

/// The decision about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    TooFast,
    /// The client ignores the refusals; its connection is to be closed.
    Flood,
}

/// A token bucket as a GCRA: its only state is the time when it will be full again. It may be overdrawn, by costs
/// that are known only afterwards.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    burst: Duration,
    full_at: Instant,
}

impl Allowance {
    pub(super) fn new(client: &ClientConfig, now: Instant) -> Allowance {
        let bucket = |per_second: u64, burst| Bucket {
            per_second: per_second.max(1),
            burst,
            full_at: now,
        };
        let commands = client.messages_per_second.into();
        Allowance {
            commands: bucket(commands, BURST),
            refusals: bucket(commands, REFUSALS),
            published: bucket(client.bytes_per_second as u64, BYTES_BURST),
            free: client.queue_bytes_max.saturating_mul(FREE_QUEUES),
        }
    }

    /// Counts one command.
    pub(super) fn take(&mut self, now: Instant) -> Verdict {
        if self.commands.take(1, now) {
            Verdict::Allowed
        } else if self.refusals.take(1, now) {
            Verdict::TooFast
        } else {
            Verdict::Flood
        }
    }

    /// Counts bytes published to others. Returns false if the bucket is empty. Any rest is enough, so that the
    /// largest message passes at any rate.
    pub(super) fn publish(&mut self, bytes: usize, now: Instant) -> bool {
        let has_some = self.published.has_some(now);
        if has_some {
            self.published.charge(bytes as u64, now);
        }
        has_some
    }

    /// Returns whether an answer of this size costs nothing, as nearly all do.
    pub(super) fn is_free(bytes: usize) -> bool {
        bytes < BYTES_OF_A_COMMAND
    }

    /// Counts the bytes of answers.
    pub(super) fn answered(&mut self, bytes: usize, now: Instant) {
        let tokens = bytes / BYTES_OF_A_COMMAND;
        self.commands.charge(tokens as u64, now);
    }

    /// Counts the bytes of a subscription's answer, with its recovered publications.
    pub(super) fn recovered(&mut self, bytes: usize, now: Instant) {
        let free = bytes.min(self.free);
        self.free -= free;
        self.answered(bytes - free, now);
    }
}

impl Bucket {
    /// Takes tokens if there are enough.
    fn take(&mut self, tokens: u64, now: Instant) -> bool {
        let full_at = self.full_after(tokens, now);
        let is_allowed = full_at <= now + self.burst;
        if is_allowed {
            self.full_at = full_at;
        }
        is_allowed
    }

    fn has_some(&self, now: Instant) -> bool {
        self.full_at < now + self.burst
    }

    /// Takes tokens even if there are not enough.
    fn charge(&mut self, tokens: u64, now: Instant) {
        let full_at = self.full_after(tokens, now);
        self.full_at = full_at.min(now + self.burst + DEBT_MAX);
    }

    fn full_after(&self, tokens: u64, now: Instant) -> Instant {
        let cost = Duration::from_nanos(tokens.saturating_mul(1_000_000_000) / self.per_second);
        self.full_at.max(now) + cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SECOND: Duration = Duration::from_secs(1);

    fn allowance(messages_per_second: u32, bytes_per_second: usize) -> (Allowance, Instant) {
        let now = Instant::now();
        let client = ClientConfig {
            messages_per_second,
            bytes_per_second,
            ..Config::default().client
        };
        (Allowance::new(&client, now), now)
    }

    #[test]
    fn a_burst_is_allowed_then_refused_and_at_last_a_flood() {
        let (mut allowance, now) = allowance(1, 1);

        let verdicts: Vec<Verdict> = (0..14).map(|_| allowance.take(now)).collect();

        assert_eq!(verdicts[..2], [Verdict::Allowed; 2]);
        assert_eq!(verdicts[2..12], [Verdict::TooFast; 10]);
        assert_eq!(verdicts[12..], [Verdict::Flood; 2]);
    }

    #[test]
    fn what_was_used_comes_back_with_time() {
        let (mut allowance, now) = allowance(10, 1);
        for _ in 0..20 {
            assert_eq!(allowance.take(now), Verdict::Allowed);
        }
        assert_eq!(allowance.take(now), Verdict::TooFast);

        let later = now + SECOND;
        for _ in 0..10 {
            assert_eq!(allowance.take(later), Verdict::Allowed);
        }
        assert_eq!(allowance.take(later), Verdict::TooFast);
    }

    #[test]
    fn four_seconds_of_bytes_may_be_published_at_once_and_the_largest_message_at_any_rate() {
        let (mut allowance, now) = allowance(100, 1_000);
        for _ in 0..4 {
            assert!(allowance.publish(1_000, now));
        }
        assert!(!allowance.publish(1, now));
        assert!(allowance.publish(9_000, now + SECOND));
        assert!(!allowance.publish(1, now + 9 * SECOND));
        assert!(allowance.publish(1, now + 10 * SECOND));
    }

    #[test]
    fn an_answer_costs_by_its_size_and_its_client_waits_ten_seconds_at_the_most() {
        let (mut allowance, now) = allowance(100, 1);
        allowance.answered(1_023, now);
        allowance.answered(299 << 10, now);
        assert_eq!(allowance.take(now), Verdict::TooFast);
        let later = now + Duration::from_millis(995);
        assert_eq!(allowance.take(later), Verdict::TooFast);
        assert_eq!(allowance.take(now + SECOND), Verdict::Allowed);

        allowance.answered(1 << 30, now);
        assert_eq!(allowance.take(now + 9 * SECOND), Verdict::TooFast);
        assert_eq!(allowance.take(now + 11 * SECOND), Verdict::Allowed);
    }

    #[test]
    fn coming_back_to_ones_rooms_costs_nothing_the_first_time() {
        let (mut allowance, now) = allowance(100, 1);
        for _ in 0..16 {
            allowance.recovered(256 << 10, now);
        }
        assert_eq!(allowance.take(now), Verdict::Allowed);

        allowance.recovered(256 << 10, now);
        assert_eq!(allowance.take(now), Verdict::TooFast);
    }
}

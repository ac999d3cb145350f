//! How much one connection may say and ask, and how long it is borne with when it says more.

use std::time::{Duration, Instant};

use crate::config::ClientConfig;

/// Seconds of silence that a client may make up for at once, in commands and in bytes that it publishes.
const BURST: Duration = Duration::from_secs(2);
const BYTES_BURST: Duration = Duration::from_secs(4);

/// Seconds' worth of commands that may be refused in a row: a bug in a game is borne with, a flood is not.
const REFUSALS: Duration = Duration::from_secs(10);

/// How far a bucket may be overdrawn: no answer keeps its client from playing for longer.
const DEBT_MAX: Duration = Duration::from_secs(10);

/// So many queues full of what was missed cost nothing: as much as the rooms of a player keep, as they ship.
const FREE_QUEUES: usize = 4;

/// Bytes of an answer that cost as much as one command.
const BYTES_OF_A_COMMAND: usize = 1 << 10;

/// What a client may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    commands: Bucket,
    /// What may still be refused: as many per second as are allowed, so that only one who sends more than
    /// twice that uses it up.
    refusals: Bucket,
    /// Bytes that it publishes to others.
    published: Bucket,
    /// Bytes of recoveries that cost nothing: who comes back to its rooms has asked for them once.
    free: usize,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    TooFast,
    /// The client does not hear that it is too fast.
    Flood,
}

/// A token bucket as a GCRA: all that it has to know is when it will be full again. It may be overdrawn, by what is
/// known only afterwards.
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

    /// Counts what is published to others. Some are left as long as the bucket is not empty, so that the largest
    /// message passes whatever the rate is.
    pub(super) fn publish(&mut self, bytes: usize, now: Instant) -> bool {
        let has_some = self.published.has_some(now);
        if has_some {
            self.published.charge(bytes as u64, now);
        }
        has_some
    }

    /// Whether an answer of so many bytes costs nothing, as nearly all do.
    pub(super) fn is_free(bytes: usize) -> bool {
        bytes < BYTES_OF_A_COMMAND
    }

    /// Counts what the client was answered.
    pub(super) fn answered(&mut self, bytes: usize, now: Instant) {
        let tokens = bytes / BYTES_OF_A_COMMAND;
        self.commands.charge(tokens as u64, now);
    }

    /// The same for a subscription, with what it has missed.
    pub(super) fn recovered(&mut self, bytes: usize, now: Instant) {
        let free = bytes.min(self.free);
        self.free -= free;
        self.answered(bytes - free, now);
    }
}

impl Bucket {
    /// Takes tokens, if there are as many.
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

    /// Takes tokens whether or not there are as many.
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

//! Admission schedule: a pure GCRA over connects, with priority for returning players.

use std::time::{Duration, Instant};

use crate::config::AdmissionConfig;

/// The burst tolerance: connects this far ahead of the schedule are admitted at once, as few arrive evenly.
const WAVE: Duration = Duration::from_millis(250);

/// The burst tolerance of newcomers: the rest of [`WAVE`] is reserved for returning players.
const NEW_WAVE: Duration = Duration::from_millis(125);

/// The longest retry delay: a player kept away for longer is lost.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// The window in which completed connects are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Connects per second that any hub can carry. A higher rate is assumed only after it was observed.
const CARRIED_MIN: u32 = 100;

/// The two priorities: players who return to a live session, mostly to a seat, and all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    Seated,
    New,
}

/// The answer of the schedule to one connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdmissionGrant {
    Now,
    At(Instant),
    Later,
}

/// The state of the schedule: theoretical arrival times (TAT), which each connect advances by its share of a second.
#[derive(Debug)]
pub(super) struct AdmissionSchedule {
    every: Duration,
    wait: Duration,
    /// The TAT of the next connect.
    next: Instant,
    /// The TAT of newcomers, including those that wait.
    next_new: Instant,
    /// The TAT of the next refused client: `next`, plus the clients that were refused before.
    promised: Instant,
    window: Instant,
    /// Connects completed in this window, and in the previous one.
    carried: (u32, u32),
}

impl Priority {
    pub(super) fn label(self) -> &'static str {
        match self {
            Priority::Seated => "seated",
            Priority::New => "new",
        }
    }
}

impl AdmissionSchedule {
    pub(super) fn new(config: &AdmissionConfig, now: Instant) -> AdmissionSchedule {
        AdmissionSchedule {
            every: Duration::from_secs(1) / config.per_second,
            wait: config.wait,
            next: now,
            next_new: now,
            promised: now,
            window: now,
            carried: (0, 0),
        }
    }

    /// Grants a connect a start time, unless that is too far away.
    pub(super) fn turn(&mut self, who: Priority, now: Instant) -> AdmissionGrant {
        let (next, wave) = match who {
            Priority::Seated => (self.next.max(now), WAVE),
            Priority::New => (self.next.max(self.next_new).max(now), NEW_WAVE),
        };
        let ahead = next - now;
        if ahead > wave + self.wait {
            return AdmissionGrant::Later;
        }
        let after = next + self.every;
        match (who, ahead <= wave) {
            (Priority::Seated, _) => self.next = after,
            (Priority::New, true) => (self.next, self.next_new) = (after, after),
            // It joins the common schedule when it starts, if no returning player needs the capacity.
            (Priority::New, false) => self.next_new = after,
        }
        match ahead <= wave {
            true => AdmissionGrant::Now,
            false => AdmissionGrant::At(now + ahead - wave),
        }
    }

    /// Starts a newcomer whose wait is over. Returns false if returning players need the capacity.
    pub(super) fn start(&mut self, now: Instant) -> bool {
        let is_free = !self.is_behind(now);
        if is_free {
            self.next = self.next.max(now) + self.every;
        }
        is_free
    }

    /// Returns whether returning players have to wait.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        self.next.saturating_duration_since(now) > WAVE
    }

    /// Returns the retry delay of a refused client. Clients refused earlier come first, at the observed rate.
    pub(super) fn come_back(&mut self, now: Instant) -> Duration {
        let promised = self.promised.max(self.next).max(now);
        let carried = self.carried.0.max(self.carried.1).max(CARRIED_MIN);
        let every = self.every.max(Duration::from_secs(1) / carried);
        self.promised = (promised + every).min(now + AWAY_MAX);
        self.promised - now
    }

    /// Counts a completed connect.
    pub(super) fn done(&mut self, now: Instant) {
        let windows = now.saturating_duration_since(self.window).as_nanos() / WINDOW.as_nanos();
        if windows > 0 {
            let before = if windows == 1 { self.carried.0 } else { 0 };
            self.window = now;
            self.carried = (0, before);
        }
        self.carried.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A schedule of 1,000 connects per second.
    fn pace(now: Instant) -> AdmissionSchedule {
        let config = AdmissionConfig {
            at_once: 1,
            per_second: 1_000,
            wait: 2_000 * MS,
        };
        AdmissionSchedule::new(&config, now)
    }

    #[test]
    fn whoever_comes_at_the_pace_never_waits() {
        let start = Instant::now();
        let mut pace = pace(start);

        for number in 0..10_000 {
            let now = start + number * MS;
            assert_eq!(
                pace.turn(Priority::New, now),
                AdmissionGrant::Now,
                "{number}"
            );
        }
    }

    #[test]
    fn a_crowd_is_spread_evenly_and_its_tail_is_told_to_come_back_in_order() {
        let now = Instant::now();
        let mut pace = pace(now);

        let turns: Vec<AdmissionGrant> = (0..5_000)
            .map(|_| pace.turn(Priority::Seated, now))
            .collect();
        let waits: Vec<Duration> = (0..3).map(|_| pace.come_back(now)).collect();

        assert!(turns[..251].iter().all(|turn| *turn == AdmissionGrant::Now));
        assert_eq!(turns[251], AdmissionGrant::At(now + MS));
        assert_eq!(turns[2_250], AdmissionGrant::At(now + 2_000 * MS));
        assert!(
            turns[2_251..]
                .iter()
                .all(|turn| *turn == AdmissionGrant::Later)
        );
        // No connect was observed yet, so the rate is 100 per second.
        assert_eq!(waits, [2_261 * MS, 2_271 * MS, 2_281 * MS]);
    }

    #[test]
    fn those_who_are_sent_away_are_spread_at_the_pace_that_was_seen_and_never_for_long() {
        let now = Instant::now();
        let mut pace = pace(now);
        for _ in 0..500 {
            pace.done(now);
        }

        let first = pace.come_back(now);
        let second = pace.come_back(now);
        let last = (0..100_000).map(|_| pace.come_back(now)).last();

        assert_eq!(second - first, 2 * MS);
        assert_eq!(last, Some(AWAY_MAX));
    }

    #[test]
    fn what_was_carried_is_forgotten_after_a_silence() {
        let now = Instant::now();
        let mut pace = pace(now);
        for _ in 0..500 {
            pace.done(now);
        }
        pace.done(now + WINDOW);
        assert_eq!(pace.carried, (1, 500));
        pace.done(now + 5 * WINDOW);
        assert_eq!(pace.carried, (1, 0));
    }

    #[test]
    fn newcomers_take_nothing_that_the_seated_need() {
        let now = Instant::now();
        let mut pace = pace(now);

        let newcomers: Vec<AdmissionGrant> =
            (0..1_000).map(|_| pace.turn(Priority::New, now)).collect();
        assert_eq!(newcomers[125], AdmissionGrant::Now);
        assert_eq!(newcomers[126], AdmissionGrant::At(now + MS));
        assert_eq!(pace.turn(Priority::Seated, now), AdmissionGrant::Now);
        for _ in 0..1_000 {
            pace.turn(Priority::Seated, now);
        }

        assert!(pace.is_behind(now));
        assert!(!pace.start(now + MS));
        assert_eq!(
            pace.turn(Priority::New, now),
            AdmissionGrant::At(now + 1_002 * MS)
        );
        assert!(pace.start(now + 1_002 * MS));
    }
}

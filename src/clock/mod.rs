//! Hub time: the wall clock as it stood at the start, moved on by the monotonic clock.
//!
//! Stored moments are in hub time, so a wall clock that is set while the daemon runs moves no hold. Hub time stands
//! still while the process does. Moments that others compare with their own clocks are [`WallTime`].

mod running;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

pub use running::{RunTime, sleep_until, watch_for_standstills};

/// A moment in hub time: milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubTime(pub i64);

impl HubTime {
    /// What is left until this moment; nothing if it has passed.
    pub fn since(self, earlier: HubTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    pub fn plus(self, duration: Duration) -> HubTime {
        HubTime(self.0.saturating_add(millis(duration)))
    }

    pub fn minus(self, duration: Duration) -> HubTime {
        HubTime(self.0.saturating_sub(millis(duration)))
    }
}

/// A moment by the wall clock, as others see it: milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

impl WallTime {
    pub fn now() -> WallTime {
        // A wall clock before 1970 reads as 1970.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        WallTime(millis(wall.unwrap_or_default()))
    }

    pub fn plus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(millis(duration)))
    }

    /// RFC 3339 in UTC, to the millisecond.
    pub fn to_rfc3339(self) -> String {
        DateTime::from_timestamp_millis(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads back what [`WallTime::to_rfc3339`] wrote.
    pub fn from_rfc3339(text: &str) -> Option<WallTime> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(WallTime(time.timestamp_millis()))
    }
}

const MILLIS: i64 = 1_000;

/// A duration as whole milliseconds, at most 292 million years.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Tells hub time. One per process, copied freely.
#[derive(Debug, Clone, Copy)]
pub struct HubClock {
    wall_at_start: HubTime,
    started: RunTime,
}

impl HubClock {
    pub fn start() -> HubClock {
        // Holds are differences, so nothing depends on the wall clock being right.
        HubClock {
            wall_at_start: HubTime(WallTime::now().0),
            started: RunTime::now(),
        }
    }

    pub fn now(&self) -> HubTime {
        self.wall_at_start.plus(RunTime::now().since(self.started))
    }

    pub fn read(&self) -> Reading {
        Reading {
            hub: self.now(),
            wall: WallTime::now(),
            run: self.wall_at_start.0,
        }
    }

    /// Returns what the wall clock shows at a moment in hub time, as far as it is known now. Both clocks are taken to
    /// agree below a second, so that a moment is the same however often it is asked for.
    pub fn on_wall(&self, moment: HubTime) -> WallTime {
        let Reading { hub, wall, .. } = self.read();
        let ahead = wall.0.saturating_sub(hub.0) / MILLIS * MILLIS;
        WallTime(moment.0.saturating_add(ahead))
    }

    /// Returns the moment in hub time at which the wall clock will show `moment`, as far as it is known now.
    pub fn from_wall(&self, moment: WallTime) -> HubTime {
        let Reading { hub, wall, .. } = self.read();
        let ahead = wall.0.saturating_sub(hub.0) / MILLIS * MILLIS;
        HubTime(moment.0.saturating_sub(ahead))
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub hub: HubTime,
    pub wall: WallTime,
    /// Tells the run of the daemon in which hub time means this: the moment of its start.
    pub run: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_past_moment_is_nothing() {
        assert_eq!(HubTime(5).since(HubTime(9)), Duration::ZERO);
        assert_eq!(HubTime(9).since(HubTime(5)), Duration::from_millis(4));
    }

    #[test]
    fn wall_time_is_written_as_rfc_3339() {
        assert_eq!(WallTime(1_500).to_rfc3339(), "1970-01-01T00:00:01.500Z");
        let read = WallTime::from_rfc3339("1970-01-01T00:00:01.500Z");
        assert_eq!(read, Some(WallTime(1_500)));
    }

    #[test]
    fn a_moment_is_told_by_the_wall_clock_as_it_is_now() {
        let slow = HubClock {
            wall_at_start: HubTime(WallTime::now().0 - 172_800_000),
            started: RunTime::now(),
        };
        let told = slow.on_wall(slow.now().plus(Duration::from_secs(60)));

        let off = told.0 - WallTime::now().plus(Duration::from_secs(60)).0;
        assert!((-5_000..=5_000).contains(&off), "{off} ms");
    }
}

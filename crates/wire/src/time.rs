//! Moments as values: in hub time for stored rows, and by the wall clock for readers outside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// A moment in hub time: milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubTime(pub i64);

impl HubTime {
    /// Returns the time left until this moment; zero if it has passed.
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

    /// Writes RFC 3339 in UTC, to the millisecond.
    pub fn to_rfc3339(self) -> String {
        DateTime::from_timestamp_millis(self.0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads the form of [`WallTime::to_rfc3339`].
    pub fn from_rfc3339(text: &str) -> Option<WallTime> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(WallTime(time.timestamp_millis()))
    }
}

/// Returns a duration in whole milliseconds, at most 292 million years.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
}

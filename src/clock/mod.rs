//! Hub time: the wall clock at the start of the daemon, moved on by the monotonic clock.
//!
//! Stored times are in hub time, so a change of the wall clock while the daemon runs moves no hold. Hub time stands
//! still while the process does. Times that others compare with their own clocks are [`WallTime`].

mod running;

use std::time::Instant;

pub use holdfast_wire::time::{HubTime, WallTime, millis};
pub use running::{RunTime, sleep_until, watch_for_standstills};

const MILLIS: i64 = 1_000;

/// A clock that shows hub time. One per process, freely copied.
#[derive(Debug, Clone, Copy)]
pub struct HubClock {
    wall_at_start: HubTime,
    started: RunTime,
}

impl HubClock {
    pub fn start() -> HubClock {
        // Holds are differences, so the wall clock need not be right.
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

    /// Reads all clocks.
    pub fn moment(&self) -> Moment {
        let Reading { hub, wall, .. } = self.read();
        Moment {
            hub,
            at: Instant::now(),
            ahead: wall.0.saturating_sub(hub.0) / MILLIS * MILLIS,
        }
    }

    /// Returns the wall clock's time at a moment in hub time, as far as it is known now. Differences of the clocks
    /// below a second are ignored, so that the result is the same in each call.
    pub fn on_wall(&self, moment: HubTime) -> WallTime {
        self.moment().on_wall(moment)
    }

    /// Returns the moment in hub time at which the wall clock will show `moment`, as far as it is known now.
    pub fn from_wall(&self, moment: WallTime) -> HubTime {
        let Reading { hub, wall, .. } = self.read();
        let ahead = wall.0.saturating_sub(hub.0) / MILLIS * MILLIS;
        HubTime(moment.0.saturating_sub(ahead))
    }
}

/// A moment on all clocks, as a value for code that reads none itself.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub hub: HubTime,
    /// By the monotonic clock.
    pub at: Instant,
    /// Milliseconds by which the wall clock is ahead of hub time.
    ahead: i64,
}

impl Moment {
    /// Returns the wall clock's time at a moment in hub time, as far as it is known now.
    pub fn on_wall(&self, moment: HubTime) -> WallTime {
        WallTime(moment.0.saturating_add(self.ahead))
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub hub: HubTime,
    pub wall: WallTime,
    /// The run of the daemon in which hub time has this meaning: the time of its start.
    pub run: i64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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

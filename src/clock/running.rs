//! Running time: the monotonic clock without the time for which the process stood still.
//!
//! A process stands still under SIGSTOP or `docker pause`, or while its machine moves to another host. The monotonic
//! clock goes on, but no client can reach the hub. A task reads the clock regularly. If two of its readings are far
//! apart, nothing ran between them, and the gap brings no deadline closer.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

/// How often the task reads the clock. Four readings fit into the shortest standstill that counts.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The shortest gap between two readings that is a standstill: a busy machine may run the task this late. This much
/// of each standstill counts as time, so that the clock never goes back behind an earlier reading.
const STANDSTILL_MIN: Duration = Duration::from_secs(1);

static WATCH: LazyLock<Watch> = LazyLock::new(Watch::new);

/// A moment in running time, in nanoseconds since the clock was first read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunTime(u64);

impl RunTime {
    pub fn now() -> RunTime {
        WATCH.now()
    }

    pub fn plus(self, duration: Duration) -> RunTime {
        RunTime(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the time left until this moment; zero if it has passed.
    pub fn since(self, earlier: RunTime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Watches for standstills of the process from now on. Never returns.
pub async fn watch_for_standstills() {
    WATCH.begin();
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        WATCH.look();
    }
}

/// Waits until a moment in running time.
pub async fn sleep_until(moment: RunTime) {
    loop {
        let wait = moment.since(RunTime::now());
        if wait.is_zero() {
            return;
        }
        sleep(wait).await;
    }
}

/// The last regular reading of the clock, and the time lost so far.
#[derive(Debug)]
struct Watch {
    started: std::time::Instant,
    /// The last reading; 0 while there are no regular readings.
    seen: AtomicU64,
    lost: AtomicU64,
    catching_up: Mutex<()>,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            started: std::time::Instant::now(),
            seen: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            catching_up: Mutex::new(()),
        }
    }

    fn begin(&self) {
        self.seen.store(self.elapsed().max(1), Ordering::Release);
    }

    fn elapsed(&self) -> u64 {
        let now = Instant::now().into_std();
        nanos(now.saturating_duration_since(self.started))
    }

    fn now(&self) -> RunTime {
        loop {
            let lost = self.lost.load(Ordering::Acquire);
            let elapsed = self.elapsed();
            self.catch_up(elapsed);
            // Another reader may have found a standstill between the two loads.
            if lost == self.lost.load(Ordering::Acquire) {
                return RunTime(elapsed.saturating_sub(lost));
            }
        }
    }

    fn look(&self) {
        let elapsed = self.elapsed();
        self.catch_up(elapsed);
        self.seen.fetch_max(elapsed, Ordering::AcqRel);
    }

    /// Leaves out the time since the last reading, if the process stood still in it.
    fn catch_up(&self, elapsed: u64) {
        if self.standstill(elapsed).is_none() {
            return;
        }
        let _alone = self.catching_up.lock();
        if let Some(standstill) = self.standstill(elapsed) {
            self.lost.fetch_add(standstill, Ordering::AcqRel);
            self.seen.store(elapsed, Ordering::Release);
            report(Duration::from_nanos(standstill));
        }
    }

    fn standstill(&self, elapsed: u64) -> Option<u64> {
        let seen = self.seen.load(Ordering::Acquire);
        let gap = elapsed.saturating_sub(seen);
        let standstill = gap.saturating_sub(nanos(STANDSTILL_MIN));
        (seen > 0 && standstill > 0).then_some(standstill)
    }
}

fn report(standstill: Duration) {
    metrics::counter!("holdfast_standstill_milliseconds_total")
        .increment(u64::try_from(standstill.as_millis()).unwrap_or(u64::MAX));
    warn!(
        seconds = standstill.as_secs_f64(),
        "the process stood still: holds and other deadlines are longer by that time"
    );
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn watched(seen: u64) -> Watch {
        let watch = Watch::new();
        watch.seen.store(seen, Ordering::Release);
        watch
    }

    #[test]
    fn a_standstill_is_left_out_once_but_for_what_a_late_look_may_be() {
        let watch = watched(5 * SECOND);

        watch.catch_up(20 * SECOND);
        watch.catch_up(20 * SECOND);

        assert_eq!(watch.lost.load(Ordering::Acquire), 14 * SECOND);
        watch.catch_up(21 * SECOND);
        assert_eq!(watch.lost.load(Ordering::Acquire), 14 * SECOND);
    }

    #[test]
    fn a_look_that_is_a_little_late_is_no_standstill() {
        let watch = watched(5 * SECOND);

        watch.catch_up(6 * SECOND);

        assert_eq!(watch.lost.load(Ordering::Acquire), 0);
    }

    #[test]
    fn nothing_is_left_out_while_nobody_looks_regularly() {
        let watch = watched(0);

        watch.catch_up(3_600 * SECOND);

        assert_eq!(watch.lost.load(Ordering::Acquire), 0);
    }

    #[test]
    fn time_never_goes_back_over_a_standstill() {
        let watch = watched(5 * SECOND);
        let before = 6 * SECOND - watch.lost.load(Ordering::Acquire);

        watch.catch_up(20 * SECOND);

        assert!(20 * SECOND - watch.lost.load(Ordering::Acquire) >= before);
    }
}

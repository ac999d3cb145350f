//! Counters of a benchmark: messages sent, received and refused, connections cut, and delays.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::frame::Stamp;
use crate::report::histogram;

/// Histograms that the players share: enough that two threads seldom want the same one.
const SHARES: usize = 16;

/// The counters of all players together.
#[derive(Debug)]
pub(super) struct Tally {
    said: AtomicU64,
    heard: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    /// The first error.
    trouble: Mutex<Option<String>>,
    /// Messages that were scheduled between these times are timed.
    from: AtomicU64,
    until: AtomicU64,
    delays: [Mutex<Histogram<u64>>; SHARES],
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) refused: u64,
    pub(super) cut: u64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            said: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            trouble: Mutex::default(),
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            delays: std::array::from_fn(|_| Mutex::new(histogram())),
        }
    }

    pub(super) fn said(&self) {
        self.said.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a message that a player received at `now`, and records its delay if it is timed.
    pub(super) fn heard(&self, who: usize, stamp: Stamp, now: u64) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let (from, until) = (&self.from, &self.until);
        if (from.load(Ordering::Relaxed)..until.load(Ordering::Relaxed)).contains(&stamp.due) {
            let delay = now.saturating_sub(stamp.due).max(1);
            self.delays[who % SHARES].lock().saturating_record(delay);
        }
    }

    pub(super) fn refused(&self, reply: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.trouble.lock().get_or_insert(reply);
    }

    /// Counts a connection that ended before its time.
    pub(super) fn cut(&self, why: String) {
        self.cut.fetch_add(1, Ordering::Relaxed);
        self.trouble.lock().get_or_insert(why);
    }

    /// Times the messages that are scheduled from now on.
    pub(super) fn begin(&self, now: u64) {
        self.from.store(now, Ordering::Relaxed);
    }

    /// Stops timing: messages that are scheduled from now on do not count.
    pub(super) fn end(&self, now: u64) {
        self.until.store(now, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            said: self.said.load(Ordering::Relaxed),
            heard: self.heard.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Returns the delays of messages, from their scheduled times.
    pub(super) fn delays(&self) -> Histogram<u64> {
        let mut all = histogram();
        for share in &self.delays {
            all += &*share.lock();
        }
        all
    }
}

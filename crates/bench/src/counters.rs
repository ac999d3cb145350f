//! What the players of a benchmark have said and heard.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::frame::Stamp;
use crate::report::histogram;

/// Histograms that the players share: enough that two threads seldom want the same one.
const SHARES: usize = 16;

/// Counted by all players together.
#[derive(Debug)]
pub(super) struct Tally {
    said: AtomicU64,
    heard: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    /// What went wrong first.
    trouble: Mutex<Option<String>>,
    /// Messages that were due between these moments are timed.
    from: AtomicU64,
    until: AtomicU64,
    delays: [Mutex<Histogram<u64>>; SHARES],
}

/// The counts of one moment.
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

    /// Somebody heard a message at a moment.
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

    /// A player's line ended before its time.
    pub(super) fn cut(&self, why: String) {
        self.cut.fetch_add(1, Ordering::Relaxed);
        self.trouble.lock().get_or_insert(why);
    }

    /// What is due from now on is timed.
    pub(super) fn begin(&self, now: u64) {
        self.from.store(now, Ordering::Relaxed);
    }

    /// What is due from now on is not timed any more.
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

    /// How long messages took, from when they were due.
    pub(super) fn delays(&self) -> Histogram<u64> {
        let mut all = histogram();
        for share in &self.delays {
            all += &*share.lock();
        }
        all
    }
}

//! Metrics of live actors and directory entries, by kind.

use std::fmt;

use metrics::{Gauge, gauge};

/// A part of an actor's state: counts the actor from its creation to its drop, however it ends.
#[derive(Debug)]
pub struct LiveGauge {
    gauge: Gauge,
}

impl LiveGauge {
    pub fn new(kind: &'static str) -> LiveGauge {
        let gauge = gauge!("holdfast_actors", "kind" => kind);
        gauge.increment(1.0);
        LiveGauge { gauge }
    }
}

impl Drop for LiveGauge {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// A counter of a directory's entries: counting the entries themselves would lock all of them.
pub struct EntryGauge(Gauge);

impl EntryGauge {
    pub fn new(kind: &'static str) -> EntryGauge {
        EntryGauge(gauge!("holdfast_directory_entries", "kind" => kind))
    }

    /// Counts an entry, unless it replaces `before`.
    pub fn entered<T>(&self, before: Option<T>) {
        if before.is_none() {
            self.0.increment(1.0);
        }
    }

    /// Counts an entry out, if there was one.
    pub fn left<T>(&self, taken: Option<T>) {
        if taken.is_some() {
            self.0.decrement(1.0);
        }
    }
}

impl fmt::Debug for EntryGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntryGauge")
    }
}

//! How many actors of each kind are alive, and how many are found in a directory, as metrics.

use std::fmt;

use metrics::{Gauge, gauge};

/// Held in an actor's state: counted from its making to its drop, however the actor ends.
#[derive(Debug)]
pub struct Alive {
    gauge: Gauge,
}

impl Alive {
    pub fn new(kind: &'static str) -> Alive {
        let gauge = gauge!("holdfast_actors", "kind" => kind);
        gauge.increment(1.0);
        Alive { gauge }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

/// Counts the entries of a directory as they come and go: counting them all would lock all of it.
pub struct Listed(Gauge);

impl Listed {
    pub fn new(kind: &'static str) -> Listed {
        Listed(gauge!("holdfast_directory_entries", "kind" => kind))
    }

    /// An entry was made, in place of `before`.
    pub fn entered<T>(&self, before: Option<T>) {
        if before.is_none() {
            self.0.increment(1.0);
        }
    }

    /// An entry was taken out, if it was there.
    pub fn left<T>(&self, taken: Option<T>) {
        if taken.is_some() {
            self.0.decrement(1.0);
        }
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listed")
    }
}

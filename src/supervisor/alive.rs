//! How many actors of each kind are alive, as a metric.

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

//! How many actors of each kind are alive, as a metric.

use metrics::gauge;

/// Held in an actor's state: counted from its making to its drop, however the actor ends.
#[derive(Debug)]
pub struct Alive {
    kind: &'static str,
}

impl Alive {
    pub fn new(kind: &'static str) -> Alive {
        gauge!("holdfast_actors", "kind" => kind).increment(1.0);
        Alive { kind }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        gauge!("holdfast_actors", "kind" => self.kind).decrement(1.0);
    }
}

//! The metrics of sessions.

use metrics::{Counter, Gauge, counter, gauge};

/// The counters and gauges of all sessions.
#[derive(Debug)]
pub(super) struct SessionMetrics {
    pub(super) take_overs: Counter,
    attached: Gauge,
    away: Gauge,
}

/// A guard of a gauge. A live session counts as away; while a connection is attached, it counts as attached instead.
#[derive(Debug)]
pub(super) struct Counted {
    up: Gauge,
    down: Option<Gauge>,
}

impl SessionMetrics {
    /// Registers the metrics. The metrics recorder must be installed before.
    pub(super) fn new() -> SessionMetrics {
        let sessions = |phase| gauge!("holdfast_sessions", "phase" => phase);
        SessionMetrics {
            take_overs: counter!("holdfast_take_overs_total"),
            attached: sessions("attached"),
            away: sessions("away"),
        }
    }

    /// Counts a live session until the guard is dropped.
    pub(super) fn live(&self) -> Counted {
        Counted::new(&self.away, None)
    }

    /// Counts an attached connection until the guard is dropped.
    pub(super) fn attached(&self) -> Counted {
        Counted::new(&self.attached, Some(&self.away))
    }
}

impl Counted {
    fn new(up: &Gauge, down: Option<&Gauge>) -> Counted {
        if let Some(down) = down {
            down.decrement(1.0);
        }
        up.increment(1.0);
        Counted {
            up: up.clone(),
            down: down.cloned(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.up.decrement(1.0);
        if let Some(down) = &self.down {
            down.increment(1.0);
        }
    }
}

//! Metrics of rooms. The handles are taken once, so a publication needs no lookup.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::wire::ReleaseReason;

/// One in this number of a room's publications is timed on its way to the sockets. Timing costs a sample for each
/// member, which is kept until the next upkeep.
const TIMED_ONE_IN: u32 = 64;

/// The counters and gauges of all rooms.
#[derive(Debug)]
pub(super) struct RoomMetrics {
    pub(super) published: Counter,
    pub(super) delivered: Counter,
    pub(super) recovered: Counter,
    pub(super) not_recovered: Counter,
    pub(super) batches_committed: Counter,
    pub(super) batches_refused: Counter,
    pub(super) batch_size: Histogram,
    pub(super) batch_duration: Histogram,
    /// Publications that were refused because too many waited.
    pub(super) batch_full: Counter,
    /// Publications of clients that were larger than their kind allows.
    pub(super) too_large: Counter,
    rooms: Gauge,
    held: Gauge,
    away: Gauge,
}

/// The share of one room in the gauges, taken back when the room stops.
#[derive(Debug)]
pub(super) struct Share {
    metrics: Arc<RoomMetrics>,
    held: u32,
    away: u32,
    spoken: u32,
}

impl RoomMetrics {
    /// Creates the metrics, for which the recorder must be installed.
    pub(super) fn new() -> RoomMetrics {
        let recoveries = |outcome| counter!("holdfast_recoveries_total", "outcome" => outcome);
        let batches = |outcome| counter!("holdfast_durable_batches_total", "outcome" => outcome);
        let seats = |status| gauge!("holdfast_seats", "status" => status);
        RoomMetrics {
            published: counter!("holdfast_publications_total"),
            delivered: counter!("holdfast_deliveries_total"),
            recovered: recoveries("recovered"),
            not_recovered: recoveries("not_recovered"),
            batches_committed: batches("committed"),
            batches_refused: batches("refused"),
            batch_size: histogram!("holdfast_durable_batch_size"),
            batch_duration: histogram!("holdfast_durable_batch_duration_seconds"),
            batch_full: counter!("holdfast_durable_publications_refused_total"),
            too_large: counter!("holdfast_commands_limited_total", "limit" => "message_max"),
            rooms: gauge!("holdfast_rooms"),
            held: seats("held"),
            away: seats("away"),
        }
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        self.rooms.increment(1.0);
        Share {
            metrics: Arc::clone(self),
            held: 0,
            away: 0,
            spoken: 0,
        }
    }
}

impl Share {
    /// Updates the number of the room's seats.
    pub(super) fn seats(&mut self, held: u32, away: u32) {
        for (gauge, before, after) in [
            (&self.metrics.held, self.held, held),
            (&self.metrics.away, self.away, away),
        ] {
            if before != after {
                gauge.increment(f64::from(after) - f64::from(before));
            }
        }
        (self.held, self.away) = (held, away);
    }

    /// Returns `since` if this publication is one that is timed.
    pub(super) fn timed(&mut self, since: Instant) -> Option<Instant> {
        let is_timed = self.spoken.is_multiple_of(TIMED_ONE_IN);
        self.spoken = self.spoken.wrapping_add(1);
        is_timed.then_some(since)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.seats(0, 0);
        self.metrics.rooms.decrement(1.0);
    }
}

/// Counts a seat that was released.
pub(super) fn count_release(reason: ReleaseReason) {
    let reason = match reason {
        ReleaseReason::Left => "left",
        ReleaseReason::HoldOver => "hold_over",
        ReleaseReason::SessionEnded => "session_ended",
    };
    counter!("holdfast_seats_released_total", "reason" => reason).increment(1);
}

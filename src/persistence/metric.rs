//! Metrics of reads from the database and writes to it.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The attempts to look up one token before it counts as unknown.
pub(super) const ATTEMPTS: [&str; 3] = ["1", "2", "3"];

/// The counters and gauges of one database. Their handles are created once.
#[derive(Debug)]
pub(super) struct PersistenceMetrics {
    pub(super) commits: Counter,
    pub(super) commit_duration: Histogram,
    pub(super) group_size: Histogram,
    pub(super) rollbacks: Counter,
    pub(super) retries: Counter,
    pub(super) unknown: Counter,
    pub(super) queue_depth: Gauge,
    pub(super) in_use: Gauge,
    pub(super) idle: Gauge,
    /// One per attempt.
    pub(super) lookups: [Lookups; ATTEMPTS.len()],
}

/// Lookups of tokens at one attempt, by result.
#[derive(Debug)]
pub(super) struct Lookups {
    pub(super) found: Counter,
    pub(super) missing: Counter,
    pub(super) unavailable: Counter,
}

impl PersistenceMetrics {
    /// Registers the metrics. Must run after the recorder is installed.
    pub(super) fn new() -> PersistenceMetrics {
        let connections = |state| gauge!("holdfast_database_connections", "state" => state);
        PersistenceMetrics {
            commits: counter!("holdfast_commits_total"),
            commit_duration: histogram!("holdfast_commit_duration_seconds"),
            group_size: histogram!("holdfast_commit_group_size"),
            rollbacks: counter!("holdfast_commit_rollbacks_total"),
            retries: counter!("holdfast_commit_retries_total"),
            unknown: counter!("holdfast_commit_unknown_total"),
            queue_depth: gauge!("holdfast_write_queue_depth"),
            in_use: connections("in_use"),
            idle: connections("idle"),
            lookups: ATTEMPTS.map(Lookups::new),
        }
    }
}

impl Lookups {
    fn new(attempt: &'static str) -> Lookups {
        let by = |outcome| counter!("holdfast_token_lookups_total", "attempt" => attempt, "outcome" => outcome);
        Lookups {
            found: by("found"),
            missing: by("missing"),
            unavailable: by("unavailable"),
        }
    }
}

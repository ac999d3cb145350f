//! What the daemon holds: memory, descriptors, actors, processor time.

use std::fs;
use std::time::Duration;

use crate::support::{Actors, Daemon, eventually};

/// What memory may differ by besides a tenth: what the allocator keeps of a burst, and what the
/// players have said meanwhile.
const RESIDENT_SLACK_KIB: u64 = 6 * 1024;

/// What descriptors may differ by besides a tenth: the database's readers come and go.
const FILES_SLACK: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) struct Vitals {
    pub(super) resident_kib: u64,
    pub(super) files: usize,
    pub(super) actors: Actors,
}

impl Vitals {
    pub(super) async fn of(daemon: &Daemon) -> Vitals {
        Vitals {
            resident_kib: resident_kib(daemon),
            files: files(daemon),
            actors: daemon.actors().await,
        }
    }

    /// Waits until the daemon holds what it held before, with a tenth more at most.
    pub(super) async fn come_back(self, daemon: &Daemon) {
        eventually("the daemon holds what it held before", async || {
            let after = Vitals::of(daemon).await;
            let is_back = after.actors == self.actors
                && after.files <= self.files + self.files / 10 + FILES_SLACK
                && after.resident_kib
                    <= self.resident_kib + self.resident_kib / 10 + RESIDENT_SLACK_KIB;
            is_back
                .then_some(())
                .ok_or_else(|| format!("{self:?} before, {after:?} after"))
        })
        .await;
    }
}

pub(super) fn resident_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("VmRSS is a number")
}

pub(super) fn files(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.process()))
        .unwrap()
        .count()
}

/// Processor time so far. The kernel counts in hundredths of a second.
pub(super) fn processor(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.process())).unwrap();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

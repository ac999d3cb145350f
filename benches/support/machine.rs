//! Conditions that a figure depends on besides the code: the machine, and its disk at the time.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Long enough to average out single slow writes.
const MEASURED_FOR: Duration = Duration::from_millis(500);

/// The size of a PostgreSQL page; SQLite's pages are half as large.
const PAGE: [u8; 8192] = [7; 8192];

/// Returns the number of cores, and how often per second the disk under `folder` makes one page durable.
pub(crate) fn facts(folder: &Path) -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    json!({ "cores": cores, "fdatasync_per_second": fdatasync_rate(folder) })
}

/// Returns the median of an odd number of measurements.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rounds to `places` decimal places.
pub(crate) fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

fn fdatasync_rate(folder: &Path) -> f64 {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path).expect("the folder is ours");
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < MEASURED_FOR {
        file.seek(SeekFrom::Start(0)).expect("a plain file");
        file.write_all(&PAGE).expect("a disk that is not full");
        file.sync_data().expect("a disk that works");
        count += 1;
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    std::fs::remove_file(path).expect("it was just written");
    rounded(rate, 0)
}

//! Progress bars on a terminal; elsewhere nothing is shown.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two moves of a bar that shows time.
const MOVES_EVERY: Duration = Duration::from_millis(100);

/// A bar that counts steps.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn of(what: &'static str, steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        bar.set_style(style("{msg:24} {wide_bar} {pos}/{len}"));
        bar.set_message(what);
        Progress(bar)
    }

    pub(super) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Waits until a moment, and shows how much is left.
pub(super) async fn wait(what: &'static str, until: Instant) {
    let whole = until.saturating_duration_since(Instant::now());
    let bar = ProgressBar::new(whole.as_millis().try_into().unwrap_or(u64::MAX));
    bar.set_style(style("{msg:24} {wide_bar}"));
    bar.set_message(what);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let passed = whole.saturating_sub(left);
        bar.set_position(passed.as_millis().try_into().unwrap_or(u64::MAX));
        tokio::time::sleep(left.min(MOVES_EVERY)).await;
    }
    bar.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

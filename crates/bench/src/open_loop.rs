//! Open-loop schedule: assigns messages to players at times that are set beforehand.
//!
//! A thread of its own follows the clock whatever the hub does. A message that cannot be sent at its scheduled time
//! is late, and its delay counts from that time. A generator that waits for the hub leaves out the very messages that
//! a slow hub delays (*coordinated omission*).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::report::micros;

/// Turns that may wait for a slow player. Further turns are counted as missed.
pub(super) const TURNS_OWED_MAX: usize = 64;

/// The scheduled time of a message, in microseconds since the start.
pub(super) type Due = u64;

/// A running schedule, which ends on drop.
#[derive(Debug)]
pub(super) struct Pace {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Pace {
    /// Starts to give `per_second` turns a second, to the takers in rotation.
    pub(super) fn start(began: Instant, per_second: u32, takers: Vec<mpsc::Sender<Due>>) -> Pace {
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || keep(began, per_second, &takers, &stop));
        Pace {
            is_over,
            thread: Some(thread),
        }
    }

    /// Ends the schedule. Returns the number of missed turns.
    pub(super) fn stop(mut self) -> u64 {
        self.end()
    }

    fn end(&mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or(0, |thread| thread.join().unwrap_or_default())
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.end();
    }
}

fn keep(began: Instant, per_second: u32, takers: &[mpsc::Sender<Due>], stop: &AtomicBool) -> u64 {
    let start = began.elapsed();
    let mut missed = 0;
    for (turn, taker) in (0_u32..).zip(takers.iter().cycle()) {
        let due = start + Duration::from_secs(1) * turn / per_second;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        if stop.load(Ordering::Relaxed) {
            return missed;
        }
        if taker.try_send(micros(due)).is_err() {
            missed += 1;
        }
    }
    missed
}

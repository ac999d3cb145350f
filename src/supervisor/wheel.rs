//! Wakes actors later: one task for the deadlines of a shard, instead of a timer for each.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::time::DelayQueue;

use super::handle::{SHARDS, shard_of};
use crate::clock::RunTime;

/// Maximum number of deadlines on their way to the task. It only inserts and casts, so it is never far behind; beyond
/// the limit an actor waits a moment.
const QUEUE_MAX: usize = 1024;

/// The timer takes at most 2^36 ms, a little over two years. A longer delay waits again.
const DELAY_MAX: Duration = Duration::from_hours(365 * 24);

/// A task that gives values back at their time. Cheap to clone; the task ends with the last clone. Time for which the
/// process stood still brings no deadline closer.
///
/// A deadline cannot be cancelled: a woken actor checks if there is still anything to do.
#[derive(Debug)]
pub struct Wheel<T> {
    deadlines: mpsc::Sender<(RunTime, T)>,
}

/// A wheel for each shard, so that a busy one delays no other. Cheap to clone.
#[derive(Debug)]
pub struct Wheels<T>(Arc<[Wheel<T>]>);

impl<T: Send + 'static> Wheels<T> {
    /// Starts the tasks. `wake` must not wait.
    pub fn start(wake: impl Fn(T) + Clone + Send + 'static) -> Wheels<T> {
        let wheels = (0..SHARDS).map(|_| Wheel::start(wake.clone()));
        Wheels(wheels.collect())
    }

    /// Returns the wheel of the shard that a key belongs to.
    pub fn of<K: Hash>(&self, key: &K) -> &Wheel<T> {
        &self.0[shard_of(key)]
    }
}

impl<T: Send + 'static> Wheel<T> {
    /// Starts the task. `wake` must not wait.
    pub fn start(wake: impl Fn(T) + Send + 'static) -> Wheel<T> {
        let (deadlines, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(queue, wake));
        Wheel { deadlines }
    }

    /// Gives `value` back after `delay`.
    pub async fn after(&self, delay: Duration, value: T) {
        let at = RunTime::now().plus(delay);
        // The task ends only with the runtime.
        if let Err(TrySendError::Full(deadline)) = self.deadlines.try_send((at, value)) {
            // Boxed: it is rare, and actors would reserve space for it all their life.
            let _ = Box::pin(self.deadlines.send(deadline)).await;
        }
    }
}

async fn run<T>(mut queue: mpsc::Receiver<(RunTime, T)>, wake: impl Fn(T)) {
    let mut pending = DelayQueue::new();
    loop {
        tokio::select! {
            // New deadlines first: one of them may be earlier than the next one in the queue.
            biased;
            deadline = queue.recv() => match deadline {
                Some((at, value)) => wait(&mut pending, at, value),
                None => return,
            },
            Some(due) = pending.next(), if !pending.is_empty() => match due.into_inner() {
                (at, value) if RunTime::now() < at => wait(&mut pending, at, value),
                (_, value) => wake(value),
            },
        }
    }
}

fn wait<T>(pending: &mut DelayQueue<(RunTime, T)>, at: RunTime, value: T) {
    let delay = at.since(RunTime::now()).min(DELAY_MAX);
    pending.insert((at, value), delay);
}

impl<T> Clone for Wheel<T> {
    fn clone(&self) -> Wheel<T> {
        Wheel {
            deadlines: self.deadlines.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_wakes_first_whatever_the_order_of_asking() {
        let (woken, mut heard) = mpsc::channel(8);
        let wheel = Wheel::start(move |value| woken.try_send(value).unwrap());

        wheel.after(Duration::from_secs(300), "later").await;
        wheel.after(Duration::from_secs(5), "sooner").await;

        assert_eq!(heard.recv().await, Some("sooner"));
        assert_eq!(heard.recv().await, Some("later"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_woken_before_time_however_long_that_is() {
        let (woken, mut heard) = mpsc::channel(8);
        let wheel = Wheel::start(move |value| woken.try_send(value).unwrap());
        let began = tokio::time::Instant::now();
        let long = DELAY_MAX * 5 / 2;

        wheel.after(long, "in two years and a half").await;

        assert_eq!(heard.recv().await, Some("in two years and a half"));
        assert!(began.elapsed() >= long, "{:?}", began.elapsed());
    }
}

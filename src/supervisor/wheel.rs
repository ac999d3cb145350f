//! Wakes actors later: one task for the deadlines of a shard, instead of a timer each.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_util::time::DelayQueue;

use super::handle::{SHARDS, shard_of};

/// Deadlines on their way to the task. It only ever inserts and casts, so it is never far behind;
/// past this an actor waits a moment before it goes on.
const QUEUE_MAX: usize = 1024;

/// The timer behind takes at most 2^36 ms, a little over two years. Who is woken early looks at the
/// time and waits again.
const DELAY_MAX: Duration = Duration::from_hours(365 * 24);

/// Hands a task values to give back when their time has come. Cheap to clone; the task ends with the
/// last clone.
///
/// There is no cancelling: who is woken looks whether there is still anything to do.
#[derive(Debug)]
pub struct Wheel<T> {
    deadlines: mpsc::Sender<(Instant, T)>,
}

/// A wheel for each shard: a busy one is no other's wait. Cheap to clone.
#[derive(Debug)]
pub struct Wheels<T>(Arc<[Wheel<T>]>);

impl<T: Send + 'static> Wheels<T> {
    /// Starts the tasks. `wake` must not wait.
    pub fn start(wake: impl Fn(T) + Clone + Send + 'static) -> Wheels<T> {
        let wheels = (0..SHARDS).map(|_| Wheel::start(wake.clone()));
        Wheels(wheels.collect())
    }

    /// The wheel of the shard that a key belongs to.
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
        let at = Instant::now() + delay.min(DELAY_MAX);
        // The task ends only with the runtime.
        if let Err(TrySendError::Full(deadline)) = self.deadlines.try_send((at, value)) {
            // In a box: it is rarely needed, and actors keep a place for it all their life.
            let _ = Box::pin(self.deadlines.send(deadline)).await;
        }
    }
}

async fn run<T>(mut queue: mpsc::Receiver<(Instant, T)>, wake: impl Fn(T)) {
    let mut pending = DelayQueue::new();
    loop {
        tokio::select! {
            // New deadlines first: one of them may be due before the next one waited for.
            biased;
            deadline = queue.recv() => match deadline {
                Some((at, value)) => {
                    pending.insert_at(value, at);
                }
                None => return,
            },
            Some(due) = pending.next(), if !pending.is_empty() => wake(due.into_inner()),
        }
    }
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
}

//! The queue of frames that a connection owes its client.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::wire::{Close, Frame};

/// How much a connection may owe its client.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    pub bytes_max: usize,
    pub count_max: usize,
}

/// The sending end: cheap to clone, never waits.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Queue>);

/// The socket's end of the queue. Dropping it refuses all that comes later.
#[derive(Debug)]
pub struct Inbox {
    queue: Arc<Queue>,
    sampled: Option<Instant>,
}

/// Why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client reads too slowly; its connection is being closed with 3008.
    #[error("the outgoing queue is full")]
    Full,
    #[error("the connection is closed")]
    Closed,
}

/// What the socket's task is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// Write these.
    Frames(Vec<Frame>),
    /// Say why, and close.
    Close(Close),
}

#[derive(Debug)]
struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// One permit, for the one socket task.
    filled: Notify,
    /// One permit, for a socket task that is stuck in a write.
    cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Frame>,
    bytes: usize,
    /// When a publication began whose way to the socket is being timed.
    sampled: Option<Instant>,
    /// Set once: the first reason stays.
    close: Option<Close>,
    is_closed: bool,
}

impl Outbound {
    /// Opens a queue. Empty, it owns no memory but itself.
    pub fn open(limits: QueueLimits) -> (Outbound, Inbox) {
        let queue = Arc::new(Queue {
            limits,
            state: Mutex::default(),
            filled: Notify::new(),
            cut: Notify::new(),
        });
        let inbox = Inbox {
            queue: Arc::clone(&queue),
            sampled: None,
        };
        (Outbound(queue), inbox)
    }

    /// Queues a frame without waiting, so one slow reader cannot stall a room.
    pub fn offer(&self, frame: Frame) -> Result<(), Refused> {
        self.offer_timed(frame, None)
    }

    /// The same; with a moment, the time from then to the write to the socket is measured.
    pub fn offer_timed(&self, frame: Frame, since: Option<Instant>) -> Result<(), Refused> {
        let mut state = self.0.state.lock();
        if state.is_closed || state.close.is_some() {
            return Err(Refused::Closed);
        }
        let bytes = state.bytes + frame.len();
        if bytes > self.0.limits.bytes_max || state.frames.len() == self.0.limits.count_max {
            drop(state);
            self.cut(Close::Slow);
            return Err(Refused::Full);
        }
        state.bytes = bytes;
        state.frames.push(frame);
        state.sampled = state.sampled.or(since);
        drop(state);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Closes the connection after all that is queued.
    pub fn close(&self, close: Close) {
        self.0.state.lock().close.get_or_insert(close);
        self.0.filled.notify_one();
    }

    /// Closes the connection now, past its queue, which is dropped.
    pub fn cut(&self, close: Close) {
        let mut state = self.0.state.lock();
        state.close.get_or_insert(close);
        state.frames = Vec::new();
        state.bytes = 0;
        drop(state);
        self.0.filled.notify_one();
        self.0.cut.notify_one();
    }

    /// Half of what the queue may hold, in bytes and frames: the most that a recovery may fill, so
    /// that a slow return cannot cut itself off again.
    pub fn half(&self) -> QueueLimits {
        QueueLimits {
            bytes_max: self.0.limits.bytes_max / 2,
            count_max: self.0.limits.count_max / 2,
        }
    }

    /// Frames that wait for the socket, and their bytes.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.frames.len(), state.bytes)
    }

    pub fn is_closed(&self) -> bool {
        let state = self.0.state.lock();
        state.is_closed || state.close.is_some()
    }
}

impl Inbox {
    /// Waits until there is something to do, then takes all of it.
    ///
    /// Cancel safe: what was not returned stays queued.
    pub async fn next(&mut self) -> Drained {
        loop {
            if let Some(drained) = self.take() {
                return drained;
            }
            self.queue.filled.notified().await;
        }
    }

    /// Waits until the connection is cut, for a task that is stuck in a write.
    pub async fn cut(&self) {
        self.queue.cut.notified().await;
    }

    /// When the timed publication began that is among the frames taken last, if there is one.
    pub fn sampled(&mut self) -> Option<Instant> {
        self.sampled.take()
    }

    fn take(&mut self) -> Option<Drained> {
        let mut state = self.queue.state.lock();
        if state.frames.is_empty() {
            return state.close.map(Drained::Close);
        }
        state.bytes = 0;
        self.sampled = state.sampled.take();
        Some(Drained::Frames(std::mem::take(&mut state.frames)))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.is_closed = true;
        state.frames = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        bytes_max: 8,
        count_max: 3,
    };

    fn frame(text: &'static str) -> Frame {
        Frame::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn a_socket_takes_all_that_has_gathered_at_once() {
        let (outbound, mut inbox) = Outbound::open(LIMITS);

        outbound.offer(frame("a")).unwrap();
        outbound.offer(frame("b")).unwrap();

        assert_eq!(
            inbox.next().await,
            Drained::Frames(vec![frame("a"), frame("b")])
        );
    }

    #[tokio::test]
    async fn a_queue_is_full_by_count_or_by_bytes_and_then_closes_as_slow() {
        for frames in [["a"; 4].as_slice(), &["aaaa", "bbbbb"]] {
            let (outbound, mut inbox) = Outbound::open(LIMITS);
            let (last, first) = frames.split_last().unwrap();
            for text in first {
                outbound.offer(frame(text)).unwrap();
            }

            assert_eq!(outbound.offer(frame(last)), Err(Refused::Full));

            assert_eq!(inbox.next().await, Drained::Close(Close::Slow));
            assert_eq!(outbound.offer(frame("x")), Err(Refused::Closed));
        }
    }

    #[tokio::test]
    async fn closing_comes_after_the_queue_and_cutting_before_it() {
        let (outbound, mut inbox) = Outbound::open(LIMITS);
        outbound.offer(frame("a")).unwrap();
        outbound.close(Close::Shutdown);
        assert_eq!(inbox.next().await, Drained::Frames(vec![frame("a")]));
        assert_eq!(inbox.next().await, Drained::Close(Close::Shutdown));

        let (outbound, mut inbox) = Outbound::open(LIMITS);
        outbound.offer(frame("a")).unwrap();
        outbound.cut(Close::Replaced);
        assert_eq!(inbox.next().await, Drained::Close(Close::Replaced));
    }

    #[test]
    fn a_queue_whose_socket_is_gone_takes_nothing() {
        let (outbound, inbox) = Outbound::open(LIMITS);
        drop(inbox);
        assert_eq!(outbound.offer(frame("a")), Err(Refused::Closed));
    }
}

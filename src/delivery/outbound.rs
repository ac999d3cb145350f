//! The queue of frames from the hub to one client.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use crate::wire::{Close, CommandResult, Encoding, ErrorCode, Failure, Frame, failure, result};

/// The most that may wait in a connection's queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    pub bytes_max: usize,
    pub count_max: usize,
}

/// The most that may gather in a queue before its socket's task is woken: about the size of one write.
pub const GATHERED_MAX: QueueLimits = QueueLimits {
    bytes_max: 8 << 10,
    count_max: 8,
};

/// A queue gathers only if its limits are at least this multiple of [`GATHERED_MAX`]: a smaller one would fill too
/// soon.
const GATHERED_SHARE: usize = 4;

impl QueueLimits {
    /// Returns whether one more frame, which brings the queue to `bytes`, would overfill it. A queue that is less
    /// than half full takes a frame of any size. Frames have limits of their own, and no single frame closes a client
    /// that reads.
    fn is_exceeded(self, state: &State, bytes: usize) -> bool {
        let is_half_full = state.bytes >= self.bytes_max / 2;
        state.frames.len() == self.count_max || (is_half_full && bytes > self.bytes_max)
    }

    fn has_room_to_gather(self) -> bool {
        self.bytes_max / GATHERED_SHARE >= GATHERED_MAX.bytes_max
            && self.count_max / GATHERED_SHARE >= GATHERED_MAX.count_max
    }
}

/// The sending end. Cheap to clone; sending never waits.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Queue>);

/// The socket's end of the queue. Dropping it refuses all later frames.
#[derive(Debug)]
pub struct Inbox {
    queue: Arc<Queue>,
    sampled: Option<Instant>,
}

/// The reason why a frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client reads too slowly; its connection closes with 3008.
    #[error("the outgoing queue is full")]
    Full,
    #[error("the connection is closed")]
    Closed,
}

/// The next step of the socket's task.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// Write these frames.
    Frames(Vec<Frame>),
    /// Send this close and end the connection.
    Close(Close),
}

#[derive(Debug)]
struct Queue {
    encoding: Encoding,
    limits: QueueLimits,
    /// Bytes of replies queued since the last [`Outbound::take_answered`].
    answered: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Frame>,
    bytes: usize,
    /// The start time of a publication whose delivery is measured.
    sampled: Option<Instant>,
    /// Set once: the first reason wins.
    close: Option<Close>,
    /// The queue gathers; only a close may be taken from it.
    is_held_back: bool,
    is_closed: bool,
    /// The close overtakes all queued frames, and a blocked write.
    is_cut: bool,
    /// The socket's task, while it waits for work.
    idle: Option<Waker>,
    /// The socket's task, while it is blocked in a write.
    stuck: Option<Waker>,
}

/// A pending wake-up of a socket's task. Dropping it wakes the task.
#[derive(Debug)]
pub struct Sleeper(Option<Waker>);

impl Drop for Sleeper {
    fn drop(&mut self) {
        wake(self.0.take());
    }
}

/// A queue that gathers without being written. Dropping this discards the gathered frames.
#[derive(Debug)]
pub struct HeldBack(Option<Outbound>);

impl HeldBack {
    /// Queues `first` ahead of the gathered frames, and lets them be written.
    pub fn release(self, first: Frame) {
        self.end(|state| {
            if !state.is_closed && state.close.is_none() {
                state.bytes += first.len();
                state.frames.insert(0, first);
            }
        });
    }

    /// Lets the gathered frames be written, with no frame ahead of them.
    pub fn resume(self) {
        self.end(|_| ());
    }

    fn end(mut self, change: impl FnOnce(&mut State)) {
        if let Some(outbound) = self.0.take() {
            let mut state = outbound.0.state.lock();
            state.is_held_back = false;
            change(&mut state);
            let idle = state.idle.take();
            drop(state);
            wake(idle);
        }
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let Some(outbound) = self.0.take() else {
            return;
        };
        let mut state = outbound.0.state.lock();
        state.is_held_back = false;
        state.frames = Vec::new();
        state.bytes = 0;
    }
}

impl Outbound {
    /// Opens a queue. An empty queue owns no memory but itself.
    pub fn open(limits: QueueLimits, encoding: Encoding) -> (Outbound, Inbox) {
        let queue = Arc::new(Queue {
            encoding,
            limits,
            answered: AtomicUsize::new(0),
            state: Mutex::default(),
        });
        let inbox = Inbox {
            queue: Arc::clone(&queue),
            sampled: None,
        };
        (Outbound(queue), inbox)
    }

    /// Returns the encoding of the client.
    pub fn encoding(&self) -> Encoding {
        self.0.encoding
    }

    /// Queues the result of the client's command `id`. In place of a result that the queue could never hold, it
    /// queues an error: otherwise the client would reconnect and repeat the command.
    ///
    /// # Errors
    /// As [`Outbound::offer`]. The connection is ending, and the client repeats the command on its next one.
    pub fn answer<R: CommandResult>(&self, id: u32, answer: &R) -> Result<(), Refused> {
        let frame = result(self.encoding(), id, answer);
        match frame.len() <= self.0.limits.bytes_max {
            true => self.offer_answer(frame),
            false => self.refuse(id, &ErrorCode::LimitExceeded.into()),
        }
    }

    /// Queues an encoded reply.
    ///
    /// # Errors
    /// As [`Outbound::answer`].
    pub fn offer_answer(&self, reply: Frame) -> Result<(), Refused> {
        self.0.answered.fetch_add(reply.len(), Ordering::Relaxed);
        self.offer(reply)
    }

    /// Returns the bytes of the replies queued since the last call.
    pub fn take_answered(&self) -> usize {
        self.0.answered.swap(0, Ordering::Relaxed)
    }

    /// Queues an error in place of a result.
    ///
    /// # Errors
    /// As [`Outbound::answer`].
    pub fn refuse(&self, id: u32, refused: &Failure) -> Result<(), Refused> {
        self.offer(failure(self.encoding(), id, refused))
    }

    /// Holds back all frames queued from now on, until a frame that must precede them is ready.
    pub fn hold_back(&self) -> HeldBack {
        self.0.state.lock().is_held_back = true;
        HeldBack(Some(self.clone()))
    }

    /// Queues a frame without waiting: a slow reader cannot stall a room.
    pub fn offer(&self, frame: Frame) -> Result<(), Refused> {
        self.leave(frame, None).map(drop)
    }

    /// Queues a frame and leaves it to the caller to wake an idle socket task. Frames queued before that go into the
    /// same write; there must be at most [`GATHERED_MAX`] of them. With `since`, the time from then to the write is
    /// measured.
    pub fn leave(&self, frame: Frame, since: Option<Instant>) -> Result<Option<Sleeper>, Refused> {
        let mut state = self.0.state.lock();
        if state.is_closed || state.close.is_some() {
            return Err(Refused::Closed);
        }
        let bytes = state.bytes + frame.len();
        if self.0.limits.is_exceeded(&state, bytes) {
            drop(state);
            self.cut(Close::Slow);
            return Err(Refused::Full);
        }
        state.bytes = bytes;
        state.frames.push(frame);
        state.sampled = state.sampled.or(since);
        if state.is_held_back {
            return Ok(None);
        }
        let sleeper = state.idle.take().map(|idle| Sleeper(Some(idle)));
        drop(state);
        Ok(sleeper.filter(|_| self.0.limits.has_room_to_gather()))
    }

    /// Closes the connection after all queued frames.
    pub fn close(&self, close: Close) {
        let mut state = self.0.state.lock();
        state.close.get_or_insert(close);
        let idle = state.idle.take();
        drop(state);
        wake(idle);
    }

    /// Closes the connection now, and drops its queue.
    pub fn cut(&self, close: Close) {
        let mut state = self.0.state.lock();
        state.close.get_or_insert(close);
        state.is_cut = true;
        state.frames = Vec::new();
        state.bytes = 0;
        let (idle, stuck) = (state.idle.take(), state.stuck.take());
        drop(state);
        wake(idle);
        wake(stuck);
    }

    /// Returns half of the queue's limits: the most that a recovery may fill, so that a slow client that returns is
    /// not disconnected again.
    pub fn half(&self) -> QueueLimits {
        QueueLimits {
            bytes_max: self.0.limits.bytes_max / 2,
            count_max: self.0.limits.count_max / 2,
        }
    }

    /// Returns the number of queued frames, and their bytes.
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
    /// Waits for frames or a close, and takes all queued frames.
    ///
    /// Cancel safe: frames that were not returned stay queued.
    pub async fn next(&mut self) -> Drained {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Drained> {
        let mut state = self.queue.state.lock();
        if !state.frames.is_empty() && !state.is_held_back {
            state.bytes = 0;
            self.sampled = state.sampled.take();
            return Poll::Ready(Drained::Frames(std::mem::take(&mut state.frames)));
        }
        if let Some(close) = &state.close {
            return Poll::Ready(Drained::Close(close.clone()));
        }
        wait(&mut state.idle, cx)
    }

    /// Returns the encoding of the client.
    pub fn encoding(&self) -> Encoding {
        self.queue.encoding
    }

    /// Refuses all later frames.
    pub fn close(&mut self) {
        let mut state = self.queue.state.lock();
        state.is_closed = true;
        state.frames = Vec::new();
    }

    /// Waits until the connection is cut, for a task blocked in a write. Returns the reason.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<Close> {
        let mut state = self.queue.state.lock();
        match &state.close {
            Some(close) if state.is_cut => Poll::Ready(close.clone()),
            Some(_) | None => wait(&mut state.stuck, cx),
        }
    }

    /// Returns the start time of the measured publication among the frames taken last, if there is one.
    pub fn sampled(&mut self) -> Option<Instant> {
        self.sampled.take()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

fn wait<T>(place: &mut Option<Waker>, cx: &Context<'_>) -> Poll<T> {
    if !place
        .as_ref()
        .is_some_and(|waker| waker.will_wake(cx.waker()))
    {
        *place = Some(cx.waker().clone());
    }
    Poll::Pending
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

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
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);

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
            let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
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
    async fn a_frame_that_is_larger_than_the_queue_goes_out_unless_much_waits_already() {
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        outbound.offer(frame("abc")).unwrap();
        outbound.offer(frame("larger than the queue")).unwrap();
        assert_eq!(inbox.next().await, {
            Drained::Frames(vec![frame("abc"), frame("larger than the queue")])
        });

        outbound.offer(frame("abcd")).unwrap();
        let refused = outbound.offer(frame("larger than the queue"));
        assert_eq!(refused, Err(Refused::Full));
    }

    #[tokio::test]
    async fn replies_are_weighed_and_nothing_else_is() {
        let (outbound, _inbox) = Outbound::open(LIMITS, Encoding::Json);
        outbound.offer(frame("abc")).unwrap();
        assert_eq!(outbound.take_answered(), 0);

        outbound.offer_answer(frame("ab")).unwrap();

        assert_eq!(outbound.take_answered(), 2);
        assert_eq!(outbound.take_answered(), 0);
    }

    #[tokio::test]
    async fn closing_comes_after_the_queue_and_cutting_before_it() {
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        outbound.offer(frame("a")).unwrap();
        outbound.close(Close::Shutdown);
        assert_eq!(inbox.next().await, Drained::Frames(vec![frame("a")]));
        assert_eq!(inbox.next().await, Drained::Close(Close::Shutdown));

        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        outbound.offer(frame("a")).unwrap();
        outbound.cut(Close::Replaced);
        assert_eq!(inbox.next().await, Drained::Close(Close::Replaced));
    }

    #[tokio::test]
    async fn what_must_go_first_overtakes_what_was_held_back_for_it() {
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        let held_back = outbound.hold_back();
        outbound.offer(frame("b")).unwrap();
        assert!(inbox.next().now_or_never().is_none());

        held_back.release(frame("a"));

        let both = vec![frame("a"), frame("b")];
        assert_eq!(inbox.next().await, Drained::Frames(both));
    }

    #[tokio::test]
    async fn what_was_held_back_for_nothing_is_forgotten() {
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        let held_back = outbound.hold_back();
        outbound.offer(frame("a")).unwrap();
        drop(held_back);

        outbound.offer(frame("b")).unwrap();

        assert_eq!(inbox.next().await, Drained::Frames(vec![frame("b")]));
    }

    #[tokio::test]
    async fn a_queue_that_holds_little_gathers_nothing() {
        let (outbound, mut inbox) = Outbound::open(LIMITS, Encoding::Json);
        let woken = tokio::spawn(async move { inbox.next().await });
        // The task is idle now.
        tokio::task::yield_now().await;

        let sleeper = outbound.leave(frame("a"), None).unwrap();

        assert!(sleeper.is_none());
        assert_eq!(woken.await.unwrap(), Drained::Frames(vec![frame("a")]));
    }

    #[test]
    fn a_queue_whose_socket_is_gone_takes_nothing() {
        let (outbound, inbox) = Outbound::open(LIMITS, Encoding::Json);
        drop(inbox);
        assert_eq!(outbound.offer(frame("a")), Err(Refused::Closed));
    }
}

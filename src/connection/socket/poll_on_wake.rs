//! A future wrapper that skips polls caused by other branches of the same task.
//!
//! The branches of a task share its waker, so a wake-up of one polls all of them. On a socket with many writes and
//! few reads, polling the input each time is a large part of the cost of a delivery.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is polled only after its own waker has fired.
#[derive(Debug)]
pub(crate) struct PollOnWake<F> {
    part: F,
    alarm: Arc<Alarm>,
}

#[derive(Debug)]
struct Alarm {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future + Unpin> PollOnWake<F> {
    pub(crate) fn new(part: F) -> PollOnWake<F> {
        PollOnWake {
            part,
            alarm: Arc::new(Alarm {
                // Nothing can wake a future that was never polled.
                has_rung: AtomicBool::new(true),
                task: AtomicWaker::new(),
            }),
        }
    }
}

impl<F: Future + Unpin> Future for PollOnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Registered before the flag is read: an alarm that fires from here on wakes the task again.
        self.alarm.task.register(cx.waker());
        if !self.alarm.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(&self.alarm));
        Pin::new(&mut self.part).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_part_is_polled_when_it_was_woken_and_not_when_another_was() {
        let (times, waker) = (AtomicUsize::new(0), Mutex::new(None::<Waker>));
        let mut part = PollOnWake::new(poll_fn(|cx| {
            times.fetch_add(1, Ordering::Relaxed);
            *waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));

        let polled = |part: &mut PollOnWake<_>| {
            assert_eq!(part.now_or_never(), None);
            times.load(Ordering::Relaxed)
        };

        assert_eq!(polled(&mut part), 1);
        assert_eq!(polled(&mut part), 1);
        waker.lock().unwrap().take().unwrap().wake();
        assert_eq!(polled(&mut part), 2);
        assert_eq!(polled(&mut part), 2);
    }

    #[tokio::test]
    async fn a_part_that_is_woken_wakes_its_task() {
        let (send, receive) = oneshot::channel();
        let part = PollOnWake::new(receive);

        let (received, ()) = tokio::join!(part, async {
            // After the first poll of the part.
            tokio::task::yield_now().await;
            send.send(7).unwrap();
        });

        assert_eq!(received, Ok(7));
    }
}

//! The time limits between and within the requests of a connection.
//!
//! In the head phase, the first request is awaited or one has begun. Then the connection is busy with the answer, and
//! idle after it; the next byte begins a head again. It ends as closing or as upgraded. Head, idle and closing have
//! a deadline.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// The time limit for a head: from its first byte, and on a new connection from the accept.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for silence between two requests. It is longer than the 60 s after which nginx and the load
/// balancers of clouds drop an idle connection to a server: a proxy that sends a POST into a connection that the
/// server is closing answers 502, because it must not retry it.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// The time limit for the other side to hang up after a refusal that left a part of its request unread.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limits of a listener's connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            head: HEAD_TIMEOUT,
            idle: IDLE_TIMEOUT,
        }
    }
}

/// The phase of a connection and its deadline. Shared by the connection's reads, writes and answers.
#[derive(Debug)]
pub(super) struct RequestTimer {
    times: Times,
    phase: Mutex<Phase>,
    /// True if the last answer may have left a part of its request unread.
    is_unread: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A head has begun, or the first one is awaited.
    Head(Instant),
    /// Nothing of the next request has arrived.
    Idle(Instant),
    /// A request is being answered, within the limits of its route.
    Busy,
    /// This side has ended the connection.
    Closing(Instant),
    /// No longer HTTP.
    Upgraded,
}

impl RequestTimer {
    pub(super) fn new(times: Times) -> RequestTimer {
        RequestTimer {
            times,
            phase: Mutex::new(Phase::Head(Instant::now() + times.head)),
            is_unread: AtomicBool::new(false),
        }
    }

    /// Records that bytes have arrived.
    pub(super) fn bytes_arrived(&self) {
        self.change(|phase| match phase {
            Phase::Idle(_) => Phase::Head(Instant::now() + self.times.head),
            Phase::Head(_) | Phase::Busy | Phase::Closing(_) | Phase::Upgraded => phase,
        });
    }

    /// Records that a head is complete.
    pub(super) fn request_began(&self) {
        self.change(|_| Phase::Busy);
    }

    /// Records the end of an answer.
    pub(super) fn answer_ended(&self) {
        self.change(|phase| match phase {
            Phase::Busy => Phase::Idle(Instant::now() + self.times.idle),
            Phase::Head(_) | Phase::Idle(_) | Phase::Closing(_) | Phase::Upgraded => phase,
        });
    }

    /// Records whether the answer may precede the end of its request, as refusals do.
    pub(super) fn set_unread(&self, is_unread: bool) {
        self.is_unread.store(is_unread, Ordering::Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    pub(super) fn upgraded(&self) {
        self.change(|_| Phase::Upgraded);
    }

    /// Records that this side has ended the connection.
    pub(super) fn closing(&self) {
        self.change(|phase| match phase {
            Phase::Closing(_) => phase,
            Phase::Head(_) | Phase::Idle(_) | Phase::Busy | Phase::Upgraded => {
                Phase::Closing(Instant::now() + LINGER_TIMEOUT)
            }
        });
    }

    pub(super) fn is_upgraded(&self) -> bool {
        *self.phase.lock() == Phase::Upgraded
    }

    fn change(&self, change: impl FnOnce(Phase) -> Phase) {
        let mut phase = self.phase.lock();
        *phase = change(*phase);
    }

    fn deadline(&self) -> Option<Instant> {
        match *self.phase.lock() {
            Phase::Head(until) | Phase::Idle(until) | Phase::Closing(until) => Some(until),
            Phase::Busy | Phase::Upgraded => None,
        }
    }

    /// Runs a connection until it ends. Returns None if its head took too long, or it was idle for too long.
    ///
    /// The timer is reset only for a deadline earlier than its own, so a connection in constant
    /// use costs no timer at all.
    pub(super) async fn keep<F: Future>(&self, mut connection: Pin<&mut F>) -> Option<F::Output> {
        let mut timer = pin!(sleep_until(Instant::now() + self.times.idle));
        poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            loop {
                let Some(deadline) = self.deadline() else {
                    return Poll::Pending;
                };
                if deadline < timer.deadline() || timer.is_elapsed() {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(cx));
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::listener::accept::{AnswerBody, http};
    use crate::listener::transport::PacedTransport;

    const REQUEST: &[u8] = b"POST /v1/rooms HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";

    /// Connects a client to a service that answers every request.
    fn connect() -> DuplexStream {
        let (client, server) = duplex(64 * 1024);
        tokio::spawn(async move {
            let pace = Arc::new(RequestTimer::new(Times::default()));
            let line = TokioIo::new(PacedTransport::new(server, Arc::clone(&pace)));
            let answering = Arc::clone(&pace);
            let service = service_fn(move |_| {
                answering.request_began();
                let body = AnswerBody::new("{}".into(), Arc::clone(&answering));
                async { Ok::<_, Infallible>(hyper::Response::new(body)) }
            });
            let connection = http().serve_connection(line, service);
            pace.keep(pin!(connection)).await
        });
        client
    }

    /// Reads the next bytes; empty if the hub has hung up.
    async fn hears(client: &mut DuplexStream) -> String {
        let mut bytes = vec![0; 4096];
        let length = client.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    async fn asks(client: &mut DuplexStream) -> String {
        client.write_all(REQUEST).await.unwrap();
        hears(client).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_into_a_connection_that_a_proxy_keeps_for_a_minute_is_answered() {
        let mut client = connect();
        for idle in [0.0, 4.93, 5.0, 60.0, 74.9, 74.9] {
            sleep(Duration::from_secs_f64(idle)).await;
            let answer = asks(&mut client).await;
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "after {idle} s: {answer}"
            );
        }
        let silent = Instant::now();
        assert_eq!(hears(&mut client).await, "");
        let elapsed = silent.elapsed();
        assert!(elapsed >= IDLE_TIMEOUT && elapsed < IDLE_TIMEOUT + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_five_seconds_however_it_drips() {
        for idle in [None, Some(30)] {
            let mut client = connect();
            if let Some(idle) = idle {
                asks(&mut client).await;
                sleep(Duration::from_secs(idle)).await;
            }
            let began = Instant::now();
            for byte in REQUEST.iter().cycle().take(60) {
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
                advance(Duration::from_millis(250)).await;
            }
            assert_eq!(hears(&mut client).await, "");
            assert!(began.elapsed() >= HEAD_TIMEOUT);
            client.write_all(b"x").await.unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_that_sends_nothing_has_the_time_of_a_head() {
        let mut client = connect();
        let began = Instant::now();
        assert_eq!(hears(&mut client).await, "");
        let elapsed = began.elapsed();
        assert!(elapsed >= HEAD_TIMEOUT && elapsed < HEAD_TIMEOUT + Duration::from_secs(1));
    }
}

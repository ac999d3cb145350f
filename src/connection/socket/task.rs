//! The socket task: reads frames one at a time, drains the outgoing queue, and keeps the heartbeat.
//!
//! One task does all three, so a connection costs one task in addition to its actor. Reading waits while a command is
//! carried out; writing never does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use ractor::ActorRef;
use ractor::rpc::CallResult;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::debug;

use super::frame_limits::FrameLimitExceeded;
use super::heartbeat::{Beat, Heartbeat};
use super::poll_on_wake::PollOnWake;
use super::transport::{Batch, WsTransport};
use crate::clock::RunTime;
use crate::connection::HasConnected;
use crate::connection::message::{ConnectionMessage, Served};
use crate::connection::metric::{ConnectionMetrics, Ended};
use crate::delivery::{Drained, Inbox, Outbound};
use crate::wire::Close;

/// The timeout of one frame, which may hold many commands, each with a limit of its own. By then the client's own
/// timeout of 5 s has passed many times over.
const FRAME_TIMEOUT: Duration = Duration::from_mins(1);

/// The time that a client has to answer a close before the line is cut.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket with its queue, its actor and its heartbeat.
pub(crate) struct Socket<S> {
    line: WsTransport<S>,
    inbox: Inbox,
    outbound: Outbound,
    actor: ActorRef<ConnectionMessage>,
    pulse: Mutex<Pulse>,
}

/// The state that the branches of the task share.
struct Pulse {
    heartbeat: Heartbeat,
    is_busy: bool,
    /// None once the socket has connected.
    has_connected: Option<HasConnected>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) fn new(
        line: WsTransport<S>,
        (outbound, inbox): (Outbound, Inbox),
        actor: ActorRef<ConnectionMessage>,
        heartbeat: Heartbeat,
        has_connected: HasConnected,
    ) -> Socket<S> {
        Socket {
            line,
            inbox,
            outbound,
            actor,
            pulse: Mutex::new(Pulse {
                heartbeat,
                is_busy: false,
                has_connected: Some(has_connected),
            }),
        }
    }

    /// Serves the socket until it is closed from either side.
    pub(crate) async fn run(&mut self, metrics: &ConnectionMetrics) -> Ended {
        let parting = {
            let Socket {
                line,
                inbox,
                outbound,
                actor,
                pulse,
            } = &mut *self;
            let (line, pulse) = (&*line, &*pulse);
            let hear = pin!(async {
                // Boxed, as it contains a timer: without it the task fits into a kilobyte.
                let beat = Box::pin(beat(outbound, pulse));
                tokio::select! {
                    // A frame that was read may bring the next deadline closer, or be the expected pong.
                    biased;
                    ended = read(line, actor, outbound, pulse, metrics) => ended,
                    never = beat => match never {},
                }
            });
            tokio::select! {
                ended = PollOnWake::new(hear) => Err(ended),
                parting = write(line, inbox, metrics) => parting.ok_or(Ended::Lost),
            }
        };
        self.inbox.close();
        match parting {
            Ok((close, begun)) => {
                Box::pin(self.part(&close, begun)).await;
                Ended::Closed(close)
            }
            Err(ended) => ended,
        }
    }

    /// Sends a close with its reason, and waits for the client to answer it.
    async fn part(&mut self, close: &Close, mut begun: Batch) {
        let why = CloseFrame {
            code: close.code().into(),
            reason: close.reason().into(),
        };
        let said = timeout(CLOSE_TIMEOUT, async {
            poll_fn(|cx| self.line.poll_write(cx, &mut begun)).await?;
            self.line.close(why).await
        });
        if let Ok(Ok(())) = said.await {
            // Cutting the line with unread input would destroy the close on its way out. A client that keeps sending
            // past the timeout has received the close by then.
            let _ = timeout(CLOSE_TIMEOUT, self.line.is_let_go()).await;
        }
    }
}

/// Hands frames to the actor, one at a time. Returns when the client is gone.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    line: &WsTransport<S>,
    actor: &ActorRef<ConnectionMessage>,
    outbound: &Outbound,
    pulse: &Mutex<Pulse>,
    metrics: &ConnectionMetrics,
) -> Ended {
    let mut ended = Ended::Lost;
    while let Some(frame) = line.next().await {
        let payload = match frame {
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Close(_)) => {
                ended = Ended::Left;
                continue;
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(error) => {
                let Some(close) = close_for(&error) else {
                    return ended;
                };
                debug!(%error, "bad frame");
                outbound.close(close);
                // The writer sends the close, and ends the task.
                return std::future::pending().await;
            }
        };
        metrics.bytes_received.increment(payload.len() as u64);
        pulse.lock().is_busy = true;
        let served = ask(actor, payload).await;
        let now = RunTime::now();
        let mut pulse = pulse.lock();
        pulse.is_busy = false;
        match served {
            Some(served) => {
                if served.is_connected {
                    pulse.heartbeat.connected(now);
                    if let Some(tell) = pulse.has_connected.take() {
                        tell();
                    }
                }
                if served.has_pong {
                    pulse.heartbeat.pong(now);
                }
            }
            // The actor has failed; the client reconnects.
            None => outbound.cut(Close::Internal),
        }
    }
    ended
}

async fn ask(actor: &ActorRef<ConnectionMessage>, payload: Bytes) -> Option<Served> {
    let question = |reply| ConnectionMessage::Frame { payload, reply };
    // Boxed: the socket task reserves space for it all its life, and mostly no frame is in flight.
    match Box::pin(actor.call(question, Some(FRAME_TIMEOUT))).await {
        Ok(CallResult::Success(served)) => Some(served),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}

/// Writes all queued frames in one go. Returns the reason to close the socket, with the partly written frame; None if
/// the line is lost.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    line: &WsTransport<S>,
    inbox: &mut Inbox,
    metrics: &ConnectionMetrics,
) -> Option<(Close, Batch)> {
    let encoding = inbox.encoding();
    loop {
        let frames = match inbox.next().await {
            Drained::Frames(frames) => frames,
            Drained::Close(close) => return Some((close, Batch::new(encoding, Vec::new()))),
        };
        let (count, bytes) = (frames.len(), frames.iter().map(Bytes::len).sum::<usize>());
        let mut batch = Batch::new(encoding, frames);
        let written = poll_fn(|cx| match line.poll_write(cx, &mut batch) {
            Poll::Ready(written) => Poll::Ready(Ok(written)),
            // A write blocked by a client that does not read may be cut off.
            Poll::Pending => inbox.poll_cut(cx).map(Err),
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(close) => return Some((close, batch.begun())),
        }
        metrics.messages_sent.increment(count as u64);
        metrics.bytes_sent.increment(bytes as u64);
        if let Some(since) = inbox.sampled() {
            metrics.delivery.record(since.elapsed());
        }
    }
}

/// Sends pings, and gives up a client that does not answer.
async fn beat(outbound: &Outbound, pulse: &Mutex<Pulse>) -> std::convert::Infallible {
    let (mut timer, mut armed) = (pin!(sleep(Duration::ZERO)), None);
    loop {
        poll_fn(|cx| {
            let deadline = pulse.lock().heartbeat.deadline();
            poll_due(timer.as_mut(), &mut armed, deadline, cx)
        })
        .await;
        let beat = {
            let mut pulse = pulse.lock();
            let is_busy = pulse.is_busy;
            pulse.heartbeat.beat(RunTime::now(), is_busy)
        };
        match beat {
            Beat::Nothing => {}
            Beat::Ping => {
                // Full or closed: the connection is ending already.
                let _ = outbound.offer(outbound.encoding().ping());
            }
            Beat::Stale => return cut(outbound, Close::Stale).await,
            Beat::NoPong => return cut(outbound, Close::NoPong).await,
        }
    }
}

/// Waits for a deadline that moves: the timer is reset whenever the deadline differs from the armed one.
fn poll_due(
    mut timer: Pin<&mut Sleep>,
    armed: &mut Option<RunTime>,
    deadline: RunTime,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if *armed != Some(deadline) {
        *armed = Some(deadline);
        let wait = deadline.since(RunTime::now());
        timer.as_mut().reset(Instant::now() + wait);
    }
    ready!(timer.poll(cx));
    // Running time may lag behind the timer: then the timer is set again.
    *armed = None;
    Poll::Ready(())
}

/// Cuts the connection. The writer sends the close, and ends the task.
async fn cut(outbound: &Outbound, close: Close) -> std::convert::Infallible {
    outbound.cut(close);
    std::future::pending().await
}

/// Returns the close for a frame that cannot be read; None if the line is gone.
fn close_for(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::MessageTooBig),
        Error::Utf8(_) => Some(Close::NotUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error)
            if error
                .get_ref()
                .is_some_and(|error| error.is::<FrameLimitExceeded>()) =>
        {
            Some(Close::PolicyViolation)
        }
        Error::Protocol(_) | Error::Capacity(_) => Some(Close::ProtocolError),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => None,
    }
}

//! One socket: reads frames one at a time, drains the outgoing queue, keeps the heartbeat.
//!
//! Everything happens in one task, so a connection costs one task beside its actor. Reading waits
//! while a command is carried out; writing never does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use ractor::ActorRef;
use ractor::rpc::CallResult;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::debug;

use super::heartbeat::{Beat, Heartbeat};
use super::message::{ConnectionMessage, Served};
use super::meter::{Excess, Meter};
use super::metric::{ConnectionMetrics, Ended};
use crate::delivery::{Drained, Inbox, Outbound};
use crate::wire::{Close, Encoding};

/// The longest that one frame may take: it may hold many commands, each of which is bounded by
/// itself. Past this the client has given up its own wait of 5 s many times over.
const FRAME_WITHIN: Duration = Duration::from_mins(1);

/// How long a client has to answer a close before the line is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A socket with what it needs.
///
/// The stream is split before any task begins: futures keep a place for each value that is moved through
/// them, and the stream is hundreds of bytes, its halves a few words.
pub(super) struct Socket<S> {
    pub(super) halves: Halves<S>,
    pub(super) inbox: Inbox,
    pub(super) outbound: Outbound,
    pub(super) actor: ActorRef<ConnectionMessage>,
    pub(super) heartbeat: Heartbeat,
}

/// A stream's two ends.
pub(super) type Halves<S> = (
    SplitSink<WebSocketStream<Meter<S>>, Message>,
    SplitStream<WebSocketStream<Meter<S>>>,
);

/// What the parts of the task share.
struct Pulse {
    heartbeat: Heartbeat,
    is_busy: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Serves the socket until it is closed from either side.
    pub(super) async fn run(self, metrics: &ConnectionMetrics) -> Ended {
        let Socket {
            halves: (mut sink, mut frames),
            mut inbox,
            outbound,
            actor,
            heartbeat,
        } = self;
        let pulse = Mutex::new(Pulse {
            heartbeat,
            is_busy: false,
        });
        let (ended, is_closing) = tokio::select! {
            ended = read(&mut frames, &actor, &outbound, &pulse, metrics) => (ended, false),
            ended = write(&mut sink, &mut inbox, metrics) => ended,
            never = beat(&outbound, &pulse) => match never {},
        };
        drop(inbox);
        if is_closing {
            // Cutting the line with unread input would destroy the close on its way out. Who goes on
            // sending past the time has had the close by then.
            let _ = timeout(CLOSE_WITHIN, async {
                if is_answered(&mut frames).await {
                    return;
                }
                let mut stream = sink
                    .reunite(frames)
                    .expect("both halves are of this socket");
                discard(stream.get_mut().stream()).await;
            })
            .await;
        }
        ended
    }
}

/// Reads until the client answers a close, or says something that is no frame.
async fn is_answered<S: AsyncRead + AsyncWrite + Unpin>(
    frames: &mut SplitStream<WebSocketStream<Meter<S>>>,
) -> bool {
    loop {
        match frames.next().await {
            None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}

/// Reads what still comes, whatever it is, until the client hangs up.
async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut unread = [0; 1024];
    while let Ok(1..) = stream.read(&mut unread).await {}
}

/// Hands frames to the actor, one in flight. Returns when the client is gone.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    frames: &mut SplitStream<WebSocketStream<Meter<S>>>,
    actor: &ActorRef<ConnectionMessage>,
    outbound: &Outbound,
    pulse: &Mutex<Pulse>,
    metrics: &ConnectionMetrics,
) -> Ended {
    let mut ended = Ended::Lost;
    while let Some(frame) = frames.next().await {
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
                // The writer says why, and ends the task.
                return std::future::pending().await;
            }
        };
        metrics.bytes_received.increment(payload.len() as u64);
        pulse.lock().is_busy = true;
        let served = ask(actor, payload).await;
        let now = Instant::now();
        let mut pulse = pulse.lock();
        pulse.is_busy = false;
        match served {
            Some(served) => {
                if served.is_connected {
                    pulse.heartbeat.connected(now);
                }
                if served.has_pong {
                    pulse.heartbeat.pong(now);
                }
            }
            // The actor has failed; the client comes back by itself.
            None => outbound.cut(Close::Internal),
        }
    }
    ended
}

async fn ask(actor: &ActorRef<ConnectionMessage>, payload: Bytes) -> Option<Served> {
    let question = |reply| ConnectionMessage::Frame { payload, reply };
    match actor.call(question, Some(FRAME_WITHIN)).await {
        Ok(CallResult::Success(served)) => Some(served),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}

/// Writes all that has gathered, in one go. Returns how the socket ended, and whether a close was sent.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<Meter<S>>, Message>,
    inbox: &mut Inbox,
    metrics: &ConnectionMetrics,
) -> (Ended, bool) {
    let encoding = inbox.encoding();
    loop {
        match inbox.next().await {
            Drained::Frames(frames) => {
                let (count, bytes) = (frames.len(), frames.iter().map(Bytes::len).sum::<usize>());
                let writing = async {
                    for frame in frames {
                        sink.feed(message(encoding, frame)?).await?;
                    }
                    sink.flush().await
                };
                let written = tokio::select! {
                    written = writing => written,
                    // Stuck in a write to a client that does not read, and cut off for it.
                    () = inbox.cut() => continue,
                };
                if written.is_err() {
                    return (Ended::Lost, false);
                }
                metrics.messages_sent.increment(count as u64);
                metrics.bytes_sent.increment(bytes as u64);
                if let Some(since) = inbox.sampled() {
                    metrics.delivery.record(since.elapsed());
                }
            }
            Drained::Close(close) => {
                let frame = CloseFrame {
                    code: close.code().into(),
                    reason: close.reason().into(),
                };
                let sent = timeout(CLOSE_WITHIN, sink.send(Message::Close(Some(frame)))).await;
                return (Ended::Closed(close), matches!(sent, Ok(Ok(()))));
            }
        }
    }
}

fn message(encoding: Encoding, frame: Bytes) -> Result<Message, Error> {
    match encoding {
        // JSON is UTF-8.
        Encoding::Json => Utf8Bytes::try_from(frame)
            .map(Message::Text)
            .map_err(|error| Error::Utf8(error.to_string())),
        Encoding::Protobuf => Ok(Message::Binary(frame)),
    }
}

/// Pings, and gives up a client that does not answer.
async fn beat(outbound: &Outbound, pulse: &Mutex<Pulse>) -> std::convert::Infallible {
    loop {
        let deadline = pulse.lock().heartbeat.deadline();
        tokio::time::sleep_until(deadline.into()).await;
        let beat = {
            let mut pulse = pulse.lock();
            let is_busy = pulse.is_busy;
            pulse.heartbeat.beat(Instant::now(), is_busy)
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

/// The writer says why, and ends the task.
async fn cut(outbound: &Outbound, close: Close) -> std::convert::Infallible {
    outbound.cut(close);
    std::future::pending().await
}

/// How to answer a frame that cannot be read; nothing if nobody is there to hear it.
fn close_for(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::MessageTooBig),
        Error::Utf8(_) => Some(Close::NotUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<Excess>()) => {
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

//! The WebSocket stream to a client, with a write path of its own.
//!
//! The WebSocket library reads the stream, answers pings and closes it. The hub's own frames bypass the library's
//! write buffer: they are shared by all recipients and are handed to the kernel in place. The library would copy each
//! into a buffer per connection, which stays as large as its largest write.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::vec;

use futures_util::{Sink as _, SinkExt as _, Stream as _};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frame_limits::FrameLimiter;
use crate::wire::{Encoding, Frame};

/// Frames handed to the kernel in one write: more than a client that keeps up has waiting.
const WRITE_FRAMES_MAX: usize = 16;

/// Writes up to this size are copied into one piece: for the kernel one piece is less work than many.
const SMALL_BYTES: usize = 2048;

/// The head of a frame from the hub: two bytes, and a length of up to eight.
const HEAD_BYTES_MAX: usize = 10;

/// A stream that the branches of one task share.
///
/// Boxed: futures reserve space for each value that is moved through them, and the stream is hundreds of bytes.
pub(crate) struct WsTransport<S>(Box<Mutex<Wire<S>>>);

struct Wire<S> {
    stream: WebSocketStream<FrameLimiter<S>>,
    /// The library may have an answer to a ping or to a close to write.
    may_owe: bool,
    /// A frame is partly written. Until it is complete the library must not write, and so must not read either.
    is_midway: bool,
    /// The reader that waits for the partly written frame.
    reader: Option<Waker>,
    /// The client has sent a close and expects no more frames.
    has_left: bool,
}

/// Frames on their way to a client.
#[derive(Debug)]
pub(crate) struct Batch {
    opcode: OpCode,
    frames: vec::IntoIter<Frame>,
    /// Bytes of the first frame that are written, including its head.
    written: usize,
}

struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsTransport<S> {
    pub(crate) fn new(stream: WebSocketStream<FrameLimiter<S>>) -> WsTransport<S> {
        WsTransport(Box::new(Mutex::new(Wire {
            stream,
            may_owe: false,
            is_midway: false,
            reader: None,
            has_left: false,
        })))
    }

    /// Returns the next message of the client; None once the line is closed.
    pub(crate) async fn next(&self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| {
            let mut wire = self.0.lock();
            if wire.is_midway {
                wire.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let next = Pin::new(&mut wire.stream).poll_next(cx);
            if let Poll::Ready(Some(Ok(message))) = &next {
                wire.has_left |= message.is_close();
                wire.may_owe |= message.is_close() || message.is_ping();
            }
            next
        })
        .await
    }

    /// Writes a batch of frames. The caller polls until it is ready.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<Result<(), Error>> {
        let mut wire = self.0.lock();
        if wire.may_owe {
            ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
            wire.may_owe = false;
        }
        if wire.has_left {
            return Poll::Ready(Ok(()));
        }
        let written = batch.poll_write(cx, wire.stream.get_mut());
        wire.is_midway = batch.written > 0;
        if !wire.is_midway
            && let Some(reader) = wire.reader.take()
        {
            reader.wake();
        }
        written.map_err(Error::Io)
    }

    /// Sends a close frame. No frame may be partly written.
    pub(crate) async fn close(&self, why: CloseFrame) -> Result<(), Error> {
        let mut why = Some(Message::Close(Some(why)));
        poll_fn(|cx| {
            let mut wire = self.0.lock();
            ready!(wire.stream.poll_ready_unpin(cx))?;
            if let Some(why) = why.take() {
                wire.stream.start_send_unpin(why)?;
            }
            wire.stream.poll_flush_unpin(cx)
        })
        .await
    }

    /// Reads until the client has answered a close, or disconnects.
    pub(crate) async fn is_let_go(&mut self) {
        loop {
            match self.next().await {
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) => return,
                Some(Ok(_)) => {}
                // The input is no valid frame. It is drained all the same.
                Some(Err(_)) => break,
            }
        }
        let stream = self.0.get_mut().stream.get_mut().stream();
        let mut unread = [0; 1024];
        while let Ok(1..) = stream.read(&mut unread).await {}
    }
}

impl Batch {
    pub(crate) fn new(encoding: Encoding, frames: Vec<Frame>) -> Batch {
        Batch {
            opcode: OpCode::Data(match encoding {
                Encoding::Json => Data::Text,
                Encoding::Protobuf => Data::Binary,
            }),
            frames: frames.into_iter(),
            written: 0,
        }
    }

    /// Returns a batch with only the rest of a partly written frame.
    pub(crate) fn begun(mut self) -> Batch {
        let begun = match self.written {
            0 => None,
            _ => self.frames.next(),
        };
        self.frames = Vec::from_iter(begun).into_iter();
        self
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.frames.as_slice().is_empty() {
            let written = ready!(self.poll_write_some(cx, to))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.took(written);
        }
        Pin::new(to).poll_flush(cx)
    }

    fn poll_write_some<W: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<usize>> {
        let frames = self.frames.as_slice();
        let frames = &frames[..frames.len().min(WRITE_FRAMES_MAX)];
        let mut small = [0; SMALL_BYTES];
        if let Some(whole) = self.copy(frames, &mut small) {
            return Pin::new(to).poll_write(cx, &small[self.written..whole]);
        }
        let mut heads = [const { Head::EMPTY }; WRITE_FRAMES_MAX];
        for (head, frame) in heads.iter_mut().zip(frames) {
            *head = Head::new(self.opcode, frame.len());
        }
        let mut slices = [IoSlice::new(&[]); 2 * WRITE_FRAMES_MAX];
        for ((pair, head), frame) in slices.chunks_exact_mut(2).zip(&heads).zip(frames) {
            pair[0] = IoSlice::new(&head.bytes[..head.len]);
            pair[1] = IoSlice::new(frame);
        }
        let mut left = &mut slices[..2 * frames.len()];
        IoSlice::advance_slices(&mut left, self.written);
        Pin::new(to).poll_write_vectored(cx, left)
    }

    /// Copies frames with their heads into `to` if they fit; returns their total length.
    fn copy(&self, frames: &[Frame], to: &mut [u8]) -> Option<usize> {
        let mut end = 0;
        for frame in frames {
            let head = Head::new(self.opcode, frame.len());
            let begin = end + head.len;
            let place = to.get_mut(end..begin + frame.len())?;
            let (first, second) = place.split_at_mut(head.len);
            first.copy_from_slice(&head.bytes[..head.len]);
            second.copy_from_slice(frame);
            end = begin + frame.len();
        }
        Some(end)
    }

    fn took(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(frame) = self.frames.as_slice().first() {
            let whole = Head::new(self.opcode, frame.len()).len + frame.len();
            if self.written < whole {
                return;
            }
            self.written -= whole;
            self.frames.next();
        }
    }
}

impl Head {
    const EMPTY: Head = Head {
        bytes: [0; HEAD_BYTES_MAX],
        len: 0,
    };

    fn new(opcode: OpCode, payload: usize) -> Head {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        let mut head = Head::EMPTY;
        let mut free = &mut head.bytes[..];
        header
            .format(payload as u64, &mut free)
            .expect("the head of a frame without a mask has at most ten bytes");
        head.len = HEAD_BYTES_MAX - free.len();
        head
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _};
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// Returns a line that buffers `room` unread bytes, and its client.
    async fn line(room: usize) -> (WsTransport<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (hub, client) = duplex(room);
        let server =
            WebSocketStream::from_raw_socket(FrameLimiter::new(hub), Role::Server, None).await;
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (WsTransport::new(server), client)
    }

    fn texts(lengths: &[usize]) -> Vec<Frame> {
        let text = |length: &usize| Bytes::from("x".repeat(*length));
        lengths.iter().map(text).collect()
    }

    async fn write<S: AsyncRead + AsyncWrite + Unpin>(line: &WsTransport<S>, batch: &mut Batch) {
        poll_fn(|cx| line.poll_write(cx, batch)).await.unwrap();
    }

    #[tokio::test]
    async fn frames_of_all_lengths_arrive_whole_and_in_order_through_the_narrowest_line() {
        let lengths = [0, 1, 125, 126, 300, 65_535, 65_536, 70_000];
        let sent = [&lengths[..], &[7; 40]].concat();
        for room in [1, 64, 1 << 20] {
            let (line, mut client) = line(room).await;
            let mut batch = Batch::new(Encoding::Json, texts(&sent));

            let ((), received) = tokio::join!(write(&line, &mut batch), async {
                let mut received = Vec::new();
                while received.len() < sent.len() {
                    received.push(client.next().await.unwrap().unwrap().into_text().unwrap());
                }
                received
            });

            let lengths: Vec<usize> = received.iter().map(|text| text.len()).collect();
            assert_eq!(lengths, sent);
        }
    }

    #[tokio::test]
    async fn the_answer_to_a_ping_does_not_come_in_the_middle_of_a_frame() {
        let (line, mut client) = line(64).await;
        let line = Arc::new(line);
        let mut batch = Batch::new(Encoding::Protobuf, texts(&[500]));
        // Fills the buffer with part of the frame.
        assert!(write(&line, &mut batch).now_or_never().is_none());
        client
            .send(Message::Ping(Bytes::from_static(b"there?")))
            .await
            .unwrap();

        let reading = Arc::clone(&line);
        let ((), first, second) = tokio::join!(
            write(&line, &mut batch),
            async { reading.next().await.unwrap().unwrap() },
            async {
                let first = client.next().await.unwrap().unwrap();
                assert_eq!(first.into_data().len(), 500);
            }
        );
        assert!(first.is_ping());
        let () = second;
        write(&line, &mut Batch::new(Encoding::Protobuf, texts(&[1]))).await;

        assert!(client.next().await.unwrap().unwrap().is_pong());
        assert!(client.next().await.unwrap().unwrap().is_binary());
    }

    #[tokio::test]
    async fn a_close_is_understood_after_a_frame_that_was_given_up() {
        let (line, mut client) = line(64).await;
        let mut batch = Batch::new(Encoding::Json, texts(&[100, 100, 100]));
        assert!(write(&line, &mut batch).now_or_never().is_none());

        let mut begun = batch.begun();
        let ((), heard) = tokio::join!(
            async {
                write(&line, &mut begun).await;
                let why = CloseFrame {
                    code: 3008.into(),
                    reason: "slow".into(),
                };
                line.close(why).await.unwrap();
            },
            async {
                let text = client.next().await.unwrap().unwrap();
                let close = client.next().await.unwrap().unwrap();
                (text, close)
            }
        );

        assert_eq!(heard.0.len(), 100);
        assert!(matches!(heard.1, Message::Close(Some(why)) if u16::from(why.code) == 3008));
    }
}

//! Limits the frames of a socket before the WebSocket library reads them. The library joins the fragments of a
//! message and limits neither their number, nor empty fragments, nor the time that a message takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Frames of one message, including empty ones. No client library splits a message below 64 KiB.
const FRAGMENTS_MAX: u32 = 64;

/// The time in which a client must send the rest of a message: 64 KiB at 6.4 KB/s.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Control frames in one window, and likewise protocol pongs. The hub sends no control frames that need an answer,
/// and requests a pong at most once a second.
const CONTROLS_MAX: u32 = 20;
const CONTROLS_WINDOW: Duration = Duration::from_secs(10);

/// The first two bytes, a length of up to eight, and a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// The limit that a client exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameLimitExceeded {
    #[error("a message has more than {FRAGMENTS_MAX} fragments")]
    Fragments,
    #[error("more than {CONTROLS_MAX} control frames arrived within {CONTROLS_WINDOW:?}")]
    Controls,
    #[error("the rest of a message did not arrive within {MESSAGE_TIMEOUT:?}")]
    Slow,
}

/// A stream whose frames are counted as they are read. Past a limit, every read fails.
#[derive(Debug)]
pub struct FrameLimiter<S> {
    stream: S,
    count: FrameCount,
    /// The rest of the time for the message that has begun.
    left: Duration,
    /// Runs only while the hub waits for the rest of a message: the hub's own time between two reads does not count
    /// against the client.
    wait: Option<Wait>,
    excess: Option<FrameLimitExceeded>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    over: Pin<Box<Sleep>>,
}

impl<S> FrameLimiter<S> {
    pub fn new(stream: S) -> FrameLimiter<S> {
        FrameLimiter {
            stream,
            count: FrameCount::default(),
            left: MESSAGE_TIMEOUT,
            wait: None,
            excess: None,
        }
    }

    /// Returns the stream itself, to read without counting.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), FrameLimitExceeded> {
        if let Some(wait) = self.wait.take() {
            self.left = self.left.saturating_sub(wait.since.elapsed());
        }
        if self.count.take(bytes, Instant::now)? {
            self.left = MESSAGE_TIMEOUT;
        }
        Ok(())
    }

    /// Limits the wait for the rest of a message. Called while no bytes arrive.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<FrameLimitExceeded> {
        if !self.count.is_inside() {
            return Poll::Pending;
        }
        let left = self.left;
        let wait = self.wait.get_or_insert_with(|| Wait {
            since: Instant::now(),
            over: Box::pin(sleep(left)),
        });
        ready!(wait.over.as_mut().poll(cx));
        Poll::Ready(FrameLimitExceeded::Slow)
    }

    fn fail(&mut self, excess: FrameLimitExceeded) -> Poll<io::Result<()>> {
        self.excess = Some(excess);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, excess)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameLimiter<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let meter = self.get_mut();
        if let Some(excess) = meter.excess {
            return meter.fail(excess);
        }
        let earlier = buffer.filled().len();
        match Pin::new(&mut meter.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => match meter.take(&buffer.filled()[earlier..]) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(excess) => meter.fail(excess),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let excess = ready!(meter.poll_wait(cx));
                meter.fail(excess)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameLimiter<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A fixed window that counts control frames or protocol pongs.
#[derive(Debug, Default)]
pub(crate) struct FrameWindow {
    window: Option<Instant>,
    count: u32,
}

impl FrameWindow {
    /// Counts one, and returns whether it is over the limit.
    pub(crate) fn is_exceeded(&mut self, now: Instant) -> bool {
        let began = *self.window.get_or_insert(now);
        if now.saturating_duration_since(began) >= CONTROLS_WINDOW {
            self.window = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count > CONTROLS_MAX
    }
}

/// Parses frame boundaries and counts frames: bytes in, excess out. The library checks that frames are well formed.
#[derive(Debug, Default)]
struct FrameCount {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of the head that have arrived; 0 between two frames.
    head_bytes: usize,
    /// Payload bytes still to come; None while the head is read.
    payload: Option<u64>,
    /// Frames of the message that has begun.
    fragments: u32,
    controls: FrameWindow,
}

impl FrameCount {
    /// Counts the frames in `bytes`, and returns whether a message ended in them.
    fn take(
        &mut self,
        mut bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<bool, FrameLimitExceeded> {
        let mut has_ended = false;
        while let Some((first, rest)) = bytes.split_first() {
            match self.payload {
                None => {
                    self.head[self.head_bytes] = *first;
                    self.head_bytes += 1;
                    bytes = rest;
                    if self.head_bytes == self.head_length() {
                        self.begin(&now)?;
                    }
                }
                Some(missing) => {
                    let length = usize::try_from(missing)
                        .map_or(bytes.len(), |missing| missing.min(bytes.len()));
                    bytes = &bytes[length..];
                    self.payload = Some(missing - length as u64);
                }
            }
            if self.payload == Some(0) {
                self.end();
                has_ended |= !self.is_inside();
            }
        }
        Ok(has_ended)
    }

    /// Returns whether a frame or a message is incomplete.
    fn is_inside(&self) -> bool {
        self.head_bytes > 0 || self.fragments > 0
    }

    /// Returns the length of the head, as far as the bytes so far determine it.
    fn head_length(&self) -> usize {
        if self.head_bytes < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn is_control(&self) -> bool {
        self.head[0] & 0x08 != 0
    }

    /// Begins the payload: the head is complete.
    fn begin(&mut self, now: &impl Fn() -> Instant) -> Result<(), FrameLimitExceeded> {
        let length = &self.head[2..];
        self.payload = Some(match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([length[0], length[1]])),
            127 => length[..8]
                .iter()
                .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
            short => u64::from(short),
        });
        if self.is_control() {
            if self.controls.is_exceeded(now()) {
                return Err(FrameLimitExceeded::Controls);
            }
            return Ok(());
        }
        self.fragments += 1;
        if self.fragments > FRAGMENTS_MAX {
            return Err(FrameLimitExceeded::Fragments);
        }
        Ok(())
    }

    /// Ends the frame: its payload is complete.
    fn end(&mut self) {
        let is_last = self.head[0] & 0x80 != 0;
        if is_last && !self.is_control() {
            self.fragments = 0;
        }
        self.head_bytes = 0;
        self.payload = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const TEXT: u8 = 0x01;
    const PING: u8 = 0x89;
    const LAST: u8 = 0x80;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            0..126 => bytes.push(0x80 | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.resize(bytes.len() + payload, b'x');
        bytes
    }

    fn message(fragments: u32) -> Vec<u8> {
        let mut bytes = frame(TEXT, 0);
        for _ in 2..fragments {
            bytes.extend(frame(0, 0));
        }
        bytes.extend(frame(LAST, 0));
        bytes
    }

    /// Checks that the result does not depend on how the bytes are split.
    #[track_caller]
    fn check(bytes: &[u8], expected: Result<bool, FrameLimitExceeded>) {
        for size in [1, 3, 1024, bytes.len()] {
            let now = Instant::now();
            let mut count = FrameCount::default();
            let counted = bytes
                .chunks(size)
                .try_fold(false, |_, piece| count.take(piece, || now));
            assert_eq!(counted, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn frames_of_every_length_are_followed_to_their_end() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            check(&frame(LAST | TEXT, length), Ok(true));
        }
    }

    #[test]
    fn a_message_has_a_limited_number_of_fragments_and_empty_ones_count() {
        check(&message(64), Ok(true));
        check(&[message(64), message(64)].concat(), Ok(true));
        check(&message(65), Err(FrameLimitExceeded::Fragments));
    }

    #[test]
    fn control_frames_within_a_message_neither_end_it_nor_hide_it() {
        let open = [frame(TEXT, 5), frame(PING, 3)].concat();
        check(&open, Ok(false));
        let closed = [open, frame(LAST, 5)].concat();
        check(&closed, Ok(true));
    }

    #[test]
    fn control_frames_are_limited_in_a_window_of_time() {
        check(&frame(PING, 2).repeat(20), Ok(true));
        check(
            &frame(PING, 2).repeat(21),
            Err(FrameLimitExceeded::Controls),
        );
        let mut count = FrameCount::default();
        let now = Instant::now();
        let later = now + CONTROLS_WINDOW;
        count.take(&frame(PING, 2).repeat(20), || now).unwrap();
        count.take(&frame(PING, 2).repeat(20), || later).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_never_finished_ends_the_reading_in_time() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut meter = FrameLimiter::new(server);
        client.write_all(&frame(TEXT, 5)).await.unwrap();
        let mut bytes = [0; 64];
        let began = tokio::time::Instant::now();

        let read = meter.read(&mut bytes).await.unwrap();
        assert_eq!(read, 11);
        let error = meter.read(&mut bytes).await.unwrap_err();

        assert_eq!(error.to_string(), FrameLimitExceeded::Slow.to_string());
        assert_eq!(began.elapsed().as_secs(), MESSAGE_TIMEOUT.as_secs());
    }
}

//! One accepted TCP socket: its options, and its slot among the counted connections.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection_limits::Slot;

/// The silence after which the kernel sends a keep-alive probe.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// The wait between two probes: three unanswered ones end a dead connection after a minute in all.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The time for which sent bytes may stay unacknowledged. The kernel's own limit is about a quarter of an hour.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Whose socket a request came through.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The address of this machine that it came to.
    pub local: SocketAddr,
    pub slot: Arc<Slot>,
}

/// A socket that gives its slot back when it closes, be it spoken over HTTP or WebSocket by then.
pub(super) struct Socket {
    stream: TcpStream,
    slot: Arc<Slot>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, slot: Arc<Slot>) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_PROBES);
        let options = SockRef::from(&stream);
        options.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        Ok(Socket { stream, slot })
    }

    /// Returns the address of this machine that the client connected to.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Peeks at the received bytes. Fails if the socket is displaced.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        tokio::select! {
            biased;
            () = poll_fn(|cx| self.slot.poll_displaced(cx)) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            peeked = self.stream.peek(buffer) => peeked,
        }
    }

    /// Replaces the socket's slot.
    pub(super) fn moved_to(self, slot: Arc<Slot>) -> Socket {
        Socket {
            stream: self.stream,
            slot,
        }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let read = Pin::new(&mut socket.stream).poll_read(cx, buffer);
        if read.is_ready() || socket.slot.standing().is_known() {
            return read;
        }
        ready!(socket.slot.poll_displaced(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

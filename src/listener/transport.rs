//! The socket as the HTTP library gets it. Its reads keep the [`RequestTimer`], and refusals that the library writes by
//! itself get a body with the reason.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::library_refusal::explain;
use super::timeouts::RequestTimer;

/// Bytes per read when a request's rest is discarded.
const UNREAD_BYTES: usize = 1024;

/// A connection's socket with its time limits.
pub(super) struct PacedTransport<S> {
    inner: S,
    pace: Arc<RequestTimer>,
    /// The rest of a refusal that is being written, and the length of the library's own.
    refusal: Option<(Bytes, usize)>,
    /// True after the upgrade, when frames pass through unchanged.
    is_upgraded: bool,
    is_shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacedTransport<S> {
    pub(super) fn new(inner: S, pace: Arc<RequestTimer>) -> PacedTransport<S> {
        PacedTransport {
            inner,
            pace,
            refusal: None,
            is_upgraded: false,
            is_shut: false,
        }
    }

    /// Returns whether the connection was upgraded. It stays so, and is not asked for again.
    fn is_upgraded(&mut self) -> bool {
        self.is_upgraded = self.is_upgraded || self.pace.is_upgraded();
        self.is_upgraded
    }

    fn write_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some((rest, length)) = &mut self.refusal else {
            return Poll::Ready(Ok(0));
        };
        while rest.has_remaining() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest)?) {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => rest.advance(written),
            }
        }
        let length = *length;
        self.refusal = None;
        Poll::Ready(Ok(length))
    }

    /// Reads until the other side hangs up: closing with unread bytes would reset the connection, and the refusal
    /// could be lost on its way. [`RequestTimer::keep`] limits the time.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [0; UNREAD_BYTES];
            let mut unread = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut unread)?);
            if unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for PacedTransport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer)?);
        if !self.is_upgraded() && buffer.filled().len() > before {
            self.pace.bytes_arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedTransport<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_upgraded() {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        if self.refusal.is_none() {
            self.refusal = explain(bytes).map(|refusal| (refusal, bytes.len()));
        }
        match self.refusal {
            Some(_) => {
                self.pace.set_unread(true);
                self.write_refusal(cx)
            }
            None => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if !self.is_upgraded()
            && let Some(first) = first
            && (self.refusal.is_some() || explain(first).is_some())
        {
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx)?);
            self.is_shut = true;
        }
        if self.is_upgraded() || !self.pace.is_unread() {
            return Poll::Ready(Ok(()));
        }
        self.pace.closing();
        self.drain(cx)
    }
}

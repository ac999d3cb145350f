//! The listener of both ports, with an accept loop of its own: the library's has no time limit on headers, no socket
//! options and no limit on connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connection_limits::{Capacity, Limits, Rejected, Slot};
use super::library_refusal::HEADER_BYTES_MAX;
use super::rejection::turn_away;
use super::socket::{Peer, Socket};
use super::timeouts::{RequestTimer, Times};
use super::transport::PacedTransport;
use super::unused_sockets::Sort;

/// Connections that wait to be accepted. The library's 128 overflows when a few hundred players return at once, and
/// then costs each of them a second.
const BACKLOG: i32 = 4096;

/// The read buffer of a connection: a head and some of the body behind it. It grows only as far as a head needs.
const BUFFER_BYTES_MAX: usize = 40 * 1024;

/// The wait after a failed accept: the reason is mostly a lack of descriptors, which only time cures.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(75);

/// The time in which repeated failures to accept, or refusals, are logged once.
const TROUBLE_LOGGED_EVERY: Duration = Duration::from_secs(1);

/// The interval at which idle addresses are removed from the rate limit: each expires after a second.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A bound port. It answers nothing until it serves; early connections wait in its backlog.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Binds the port and begins to queue connections.
    ///
    /// # Errors
    /// If the address is in use or does not belong to this machine.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restarted daemon gets its port back while old connections still linger in the kernel.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Listener {
            inner: TcpListener::from_std(socket.into())?,
        })
    }

    /// Returns the bound address, with the port that the system chose if 0 was configured.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Serves until `stop`. Then it closes the port, and each connection ends after its current request; `tracker`
    /// completes after the last one. Upgraded connections are not affected.
    pub async fn serve(
        self,
        router: Router,
        limits: Limits,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) {
        let serving = Serving {
            capacity: Capacity::new(limits.clone()),
            trouble: Arc::default(),
            router,
            http: Arc::new(http()),
            times: Times {
                head: limits.header_timeout,
                ..Times::default()
            },
            refusals: Capacity::new(limits.refusals()),
            tracker,
            stop: stop.clone(),
        };
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // In this order: a stop and the sweep are handled even under a flood of connects.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = sweep.tick() => {
                    serving.capacity.sweep();
                    continue;
                }
                accepted = self.inner.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    serving.take(stream, peer);
                    // Displaced connections close first: they hold slots of a small reserve.
                    if serving.capacity.has_leaving() || serving.refusals.has_leaving() {
                        yield_now().await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    serving
                        .trouble
                        .lock()
                        .tell("no connection can be accepted", &error);
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

/// The state that each connection needs.
#[derive(Clone)]
struct Serving {
    capacity: Arc<Capacity>,
    trouble: Arc<Mutex<Trouble>>,
    router: Router,
    http: Arc<http1::Builder>,
    times: Times,
    /// The capacity for connections that are refused.
    refusals: Arc<Capacity>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Serving {
    fn take(&self, stream: TcpStream, address: SocketAddr) {
        let (slot, turned) = match self.capacity.admit(address.ip()) {
            Ok(slot) => (slot, None),
            Err(turned) => match self.refusals.admit(address.ip()) {
                Ok(slot) => (slot, Some(turned)),
                // There is no capacity for a refusal either.
                Err(_) => return self.count_refused(turned),
            },
        };
        match (Socket::new(stream, Arc::clone(&slot)), turned) {
            (Ok(socket), None) => {
                self.tracker
                    .spawn(self.clone().serve(socket, slot, address));
            }
            (Ok(socket), Some(turned)) => {
                self.tracker
                    .spawn(self.clone().refuse(socket, slot, address, turned));
            }
            // The other side has hung up already.
            (Err(error), _) => tracing::debug!(%error, "socket options were refused"),
        }
    }

    async fn serve(self, socket: Socket, slot: Arc<Slot>, address: SocketAddr) {
        // The other side has hung up already.
        let Ok(local) = socket.local_address() else {
            return;
        };
        let peer = Peer {
            address,
            local,
            slot,
        };
        let (http, times) = (&self.http, self.times);
        converse(http, socket, peer, self.router, self.stop, times).await;
    }

    /// Answers a connection for which there is no capacity, or serves it if there is some by then.
    async fn refuse(self, socket: Socket, slot: Arc<Slot>, address: SocketAddr, turned: Rejected) {
        let room = || self.capacity.admit_asking(address.ip()).ok();
        let refusing = turn_away(socket, slot, turned, self.router.clone(), room);
        match refusing.await {
            Ok(Some((socket, slot))) => self.serve(socket, slot, address).await,
            // A refusal that does not arrive is not retried.
            Ok(None) | Err(_) => self.count_refused(turned),
        }
    }

    fn count_refused(&self, turned: Rejected) {
        self.trouble.lock().tell("a connection is refused", &turned);
        metrics::counter!("holdfast_http_connections_refused_total", "reason" => turned.label())
            .increment(1);
    }
}

/// Returns the library's settings. Its own time limit is off, because it treats an idle connection and an unfinished
/// head alike; [`RequestTimer`] has a limit for each.
pub(super) fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.header_read_timeout(None)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    http
}

async fn converse(
    http: &http1::Builder,
    socket: Socket,
    peer: Peer,
    router: Router,
    stop: CancellationToken,
    times: Times,
) {
    let pace = Arc::new(RequestTimer::new(times));
    let line = TokioIo::new(PacedTransport::new(socket, Arc::clone(&pace)));
    let answering = Arc::clone(&pace);
    let service = service_fn(move |mut request: Request<Incoming>| {
        answering.request_began();
        request.extensions_mut().insert(peer.clone());
        answer(
            router.clone(),
            request,
            Arc::clone(&answering),
            Arc::clone(&peer.slot),
        )
    });
    let connection = http.serve_connection(line, service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = pace.keep(connection.as_mut()) => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            pace.keep(connection).await
        }
    };
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
        None => {
            tracing::debug!("an HTTP connection was idle, or its head incomplete, for too long")
        }
    }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    pace: Arc<RequestTimer>,
    slot: Arc<Slot>,
) -> Result<Response<AnswerBody>, Infallible> {
    slot.works();
    let response = router.call(request.map(Body::new)).await?;
    let status = response.status();
    pace.set_unread(status.is_client_error() || status.is_server_error());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        pace.upgraded();
        slot.waits(Sort::Upgraded);
    } else {
        slot.waits(Sort::Idle);
    }
    Ok(response.map(|body| AnswerBody::new(body, pace)))
}

/// The body of an answer. Its drop marks the end of the answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    inner: Body,
    pace: Arc<RequestTimer>,
}

impl AnswerBody {
    pub(super) fn new(inner: Body, pace: Arc<RequestTimer>) -> AnswerBody {
        AnswerBody { inner, pace }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.pace.answer_ended();
    }
}

/// Returns whether the error concerns a single connection, which was gone before it was accepted.
/// The next accept may succeed.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        Interrupted,
    ]
    .contains(&error.kind())
}

/// A rate-limited log of failed accepts and refused connections.
#[derive(Debug, Default)]
struct Trouble {
    told: Option<Instant>,
    untold: u64,
}

impl Trouble {
    fn tell(&mut self, what: &str, error: &dyn std::error::Error) {
        if self
            .told
            .is_some_and(|told| told.elapsed() < TROUBLE_LOGGED_EVERY)
        {
            self.untold += 1;
            return;
        }
        tracing::warn!(%error, untold = self.untold, "{what}");
        self.told = Some(Instant::now());
        self.untold = 0;
    }
}

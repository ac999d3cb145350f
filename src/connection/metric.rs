//! The metrics of connections. The handles are resolved once, so that counting a message needs no look-up.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::wire::{Close, Reason, Request};

const KINDS: [&str; 13] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "ping",
    "send",
    "rpc",
    "refresh",
    "sub_refresh",
    "pong",
];

/// The metrics of all connections together.
#[derive(Debug)]
pub(super) struct ConnectionMetrics {
    received: [Counter; KINDS.len()],
    pub(super) unreadable: Counter,
    /// Commands refused because the connection sent too many.
    pub(super) too_fast: Counter,
    /// Publications refused because the connection had published too many bytes.
    pub(super) too_much: Counter,
    pub(super) bytes_received: Counter,
    pub(super) messages_sent: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) delivery: Histogram,
    open: Gauge,
    opened: Counter,
}

/// The way in which a socket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client closed it.
    Left,
    /// The line broke.
    Lost,
    /// The hub closed it.
    Closed(Close),
}

/// A socket, counted as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a ConnectionMetrics);

impl ConnectionMetrics {
    /// Creates the metrics; call it after the recorder is installed.
    pub(super) fn new() -> ConnectionMetrics {
        let received = |kind| counter!("holdfast_messages_received_total", "kind" => kind);
        let limited = |limit| counter!("holdfast_commands_limited_total", "limit" => limit);
        ConnectionMetrics {
            too_fast: limited("messages_per_second"),
            too_much: limited("bytes_per_second"),
            received: KINDS.map(received),
            unreadable: received("unreadable"),
            bytes_received: counter!("holdfast_bytes_received_total"),
            messages_sent: counter!("holdfast_messages_sent_total"),
            bytes_sent: counter!("holdfast_bytes_sent_total"),
            delivery: histogram!("holdfast_delivery_duration_seconds"),
            open: gauge!("holdfast_connections"),
            opened: counter!("holdfast_connections_opened_total"),
        }
    }

    pub(super) fn received(&self, request: &Request) {
        self.received[place(request)].increment(1);
    }

    pub(super) fn open(&self) -> Open<'_> {
        self.opened.increment(1);
        self.open.increment(1.0);
        Open(self)
    }
}

impl Open<'_> {
    pub(super) fn ended(self, ended: Ended) {
        counter!("holdfast_connections_closed_total", "reason" => ended.label()).increment(1);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.decrement(1.0);
    }
}

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Ended::Left => "client_closed",
            Ended::Lost => "line_lost",
            Ended::Closed(close) => close.label(),
        }
    }
}

/// Counts a connect by its outcome.
pub(super) fn count_connect(outcome: Resume) {
    counter!("holdfast_resumes_total", "outcome" => outcome.label()).increment(1);
}

/// The outcome of a connect.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resume {
    /// A token was presented, and its session continues.
    Resumed,
    /// A session was made: for a guest, or for a login whose user had no seated session.
    New,
    Refused(Reason),
}

impl Resume {
    fn label(self) -> &'static str {
        match self {
            Resume::Resumed => "resumed",
            Resume::New => "new",
            Resume::Refused(Reason::TokenInvalid) => "token_invalid",
            Resume::Refused(Reason::TokenExpired) => "token_expired",
            Resume::Refused(Reason::SessionEnded) => "session_ended",
            Resume::Refused(Reason::PermissionDenied) => "guests_not_admitted",
            Resume::Refused(Reason::BadRequest) => "bad_request",
            Resume::Refused(Reason::RateLimited) => "rate_limited",
            Resume::Refused(Reason::Unavailable) => "unavailable",
            Resume::Refused(Reason::NotSeated) => "not_seated",
            Resume::Refused(
                Reason::RoomNotFound
                | Reason::RoomFull
                | Reason::RoomClosed
                | Reason::SeatTaken
                | Reason::SeatNotFound
                | Reason::AlreadySeated
                | Reason::InvalidUserReference
                | Reason::InsufficientCredits
                | Reason::KeyReused
                | Reason::UnknownKind
                | Reason::UserNotFound
                | Reason::Internal
                | Reason::TooManySeats,
            ) => "refused",
        }
    }
}

/// Returns the index of a command in [`KINDS`].
fn place(request: &Request) -> usize {
    match request {
        Request::Connect(_) => 0,
        Request::Subscribe(_) => 1,
        Request::Unsubscribe { .. } => 2,
        Request::Publish { .. } => 3,
        Request::Presence { .. } => 4,
        Request::PresenceStats { .. } => 5,
        Request::History(_) => 6,
        Request::Ping => 7,
        Request::Send => 8,
        Request::Rpc { .. } => 9,
        Request::Refresh { .. } => 10,
        Request::SubRefresh { .. } => 11,
        Request::Pong => 12,
    }
}

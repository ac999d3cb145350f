//! Refusals: the reasons for not carrying out a request, the same on the socket and over HTTP.

use std::borrow::Cow;
use std::time::Duration;

/// How long a client should wait after UNAVAILABLE: about as long as a reader pool or a restarted database needs, and
/// short for a player. An estimate.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The closed set of refusals. Each has one name, one number on the wire and one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    RoomNotFound,
    RoomFull,
    RoomClosed,
    SeatTaken,
    SeatNotFound,
    AlreadySeated,
    NotSeated,
    InvalidUserReference,
    InsufficientCredits,
    KeyReused,
    UnknownKind,
    UserNotFound,
    /// The user already holds as many seats as allowed.
    TooManySeats,
    BadRequest,
    /// Unknown, expired, swept or malformed.
    TokenInvalid,
    TokenExpired,
    /// The session has ended; on the wire this is close 4500.
    SessionEnded,
    PermissionDenied,
    RateLimited,
    Unavailable,
    /// A failure of the hub that the same request would cause again.
    Internal,
}

impl Reason {
    /// Returns the name that clients receive.
    pub fn name(self) -> &'static str {
        match self {
            Reason::RoomNotFound => "ROOM_NOT_FOUND",
            Reason::RoomFull => "ROOM_FULL",
            Reason::RoomClosed => "ROOM_CLOSED",
            Reason::SeatTaken => "SEAT_TAKEN",
            Reason::SeatNotFound => "SEAT_NOT_FOUND",
            Reason::AlreadySeated => "ALREADY_SEATED",
            Reason::NotSeated => "NOT_SEATED",
            Reason::InvalidUserReference => "INVALID_USER_REFERENCE",
            Reason::InsufficientCredits => "INSUFFICIENT_CREDITS",
            Reason::KeyReused => "KEY_REUSED",
            Reason::UnknownKind => "UNKNOWN_KIND",
            Reason::UserNotFound => "USER_NOT_FOUND",
            Reason::TooManySeats => "TOO_MANY_SEATS",
            Reason::BadRequest => "BAD_REQUEST",
            Reason::TokenInvalid => "TOKEN_INVALID",
            Reason::TokenExpired => "TOKEN_EXPIRED",
            Reason::SessionEnded => "SESSION_ENDED",
            Reason::PermissionDenied => "PERMISSION_DENIED",
            Reason::RateLimited => "RATE_LIMITED",
            Reason::Unavailable => "UNAVAILABLE",
            Reason::Internal => "INTERNAL",
        }
    }

    /// Returns the number in an error reply.
    pub fn code(self) -> u32 {
        match self {
            Reason::RoomNotFound => 1001,
            Reason::RoomFull => 1002,
            Reason::RoomClosed => 1003,
            Reason::SeatTaken => 1004,
            Reason::SeatNotFound => 1005,
            Reason::AlreadySeated => 1006,
            Reason::NotSeated => 1007,
            Reason::InvalidUserReference => 1008,
            Reason::InsufficientCredits => 1009,
            Reason::KeyReused => 1010,
            Reason::UnknownKind => 1011,
            Reason::UserNotFound => 1018,
            Reason::TooManySeats => 1016,
            Reason::BadRequest => 107,
            Reason::TokenInvalid | Reason::SessionEnded => 101,
            Reason::TokenExpired => 109,
            Reason::PermissionDenied => 103,
            Reason::RateLimited => 111,
            Reason::Unavailable | Reason::Internal => 100,
        }
    }

    /// Returns true if the same request may succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Reason::RateLimited | Reason::Unavailable)
    }

    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Reason::RoomNotFound
            | Reason::SeatNotFound
            | Reason::UnknownKind
            | Reason::UserNotFound => 404,
            Reason::RoomFull | Reason::SeatTaken | Reason::AlreadySeated | Reason::TooManySeats => {
                409
            }
            Reason::RoomClosed => 410,
            Reason::NotSeated | Reason::InsufficientCredits | Reason::PermissionDenied => 403,
            Reason::InvalidUserReference | Reason::BadRequest => 400,
            Reason::KeyReused => 422,
            Reason::TokenInvalid | Reason::TokenExpired | Reason::SessionEnded => 401,
            Reason::RateLimited => 429,
            Reason::Unavailable => 503,
            Reason::Internal => 500,
        }
    }
}

/// A refusal with its details. Nothing of the request was done, unless the reason is [`Reason::Unavailable`]: then it
/// may still be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.name())]
pub struct Refusal {
    pub reason: Reason,
    /// For people: the mistake and what is allowed. Never contains a secret.
    pub detail: Cow<'static, str>,
    /// Set if waiting helps.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            reason,
            detail: detail.into(),
            retry_after: reason.is_temporary().then_some(RETRY_AFTER),
        }
    }

    /// Refuses a request that could not be completed in time.
    pub fn unavailable() -> Refusal {
        Refusal::new(
            Reason::Unavailable,
            "the request was not completed in time; a change it asked for may still be made",
        )
    }

    /// Refuses a request because the hub is stopping; its successor accepts it.
    pub fn stopping() -> Refusal {
        Refusal::new(
            Reason::Unavailable,
            "the hub is stopping; ask its successor",
        )
    }

    /// Refuses a request that failed for a reason that the hub did not foresee. Waiting does not help.
    pub fn internal() -> Refusal {
        Refusal::new(
            Reason::Internal,
            "the hub failed at this request, and nothing of it was done; the same request fails again",
        )
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::new(Reason::BadRequest, detail)
    }
}

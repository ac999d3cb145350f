//! Why a request was refused, in words that are the same on the socket and over HTTP.

use std::borrow::Cow;
use std::time::Duration;

/// How long a client that was told UNAVAILABLE should wait: about what a reader pool or a
/// restarted database needs, short against a player's patience. A guess.
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
    /// The user holds as many seats as a user may.
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
    /// A failure of the hub that the same request meets again.
    Internal,
}

impl Reason {
    /// The name told to clients.
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

    /// The number in an error reply.
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

    /// Whether the same request may succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Reason::RateLimited | Reason::Unavailable)
    }

    /// The HTTP status.
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

/// A refusal with what was wrong in this case. Nothing of the request was done, except where the
/// reason is [`Reason::Unavailable`]: then it may be done still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", reason.name())]
pub struct Refusal {
    pub reason: Reason,
    /// For people: what was wrong and what is allowed. Never holds a secret.
    pub detail: Cow<'static, str>,
    /// Set where waiting helps.
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

    /// The request could not be carried out now.
    pub fn unavailable() -> Refusal {
        Refusal::new(
            Reason::Unavailable,
            "the request was not completed in time; a change it asked for may still be made",
        )
    }

    /// The hub stops: its successor takes the request.
    pub fn stopping() -> Refusal {
        Refusal::new(
            Reason::Unavailable,
            "the hub is stopping; ask its successor",
        )
    }

    /// The request failed for a reason that the hub did not foresee, and waiting does not mend it.
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

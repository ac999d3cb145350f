//! The answer to a command that was committed, and the reason why one was not.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{RoomCode, RoomId, SessionId, UserId};
use crate::persistence::news::{Offsets, SessionNews};
use crate::persistence::once::StoredResponse;
use crate::persistence::sweep::Swept;

/// The answer to a committed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// OpenSession, OpenRoom, ClaimSeat, ConfirmToken: the user as stored.
    Player { user: UserId, name: Arc<str> },
    /// Publish: the first offset.
    Published { first: u64 },
    /// A command with room events: its own answer, and the offsets of the events.
    Told {
        of: Box<Committed>,
        offsets: Offsets,
    },
    /// EndSession: the events published in the durable streams of its rooms.
    Ended(Vec<SessionNews>),
    /// EndSessions: what it has ended.
    AllEnded(EndedSessions),
    /// AdoptSession: the user's name, and the events published in the durable streams of its rooms.
    Adopted {
        name: Arc<str>,
        told: Vec<SessionNews>,
    },
    /// Sweep: the rows removed.
    Swept(Swept),
    /// All others.
    Done,
}

/// The sessions of a user that one command has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSessions {
    pub sessions: Vec<SessionId>,
    /// The seats that were deleted with them, each by its session and its room.
    pub seats: Vec<(SessionId, RoomId, RoomCode)>,
    /// The events published in the durable streams of those rooms.
    pub told: Vec<SessionNews>,
}

/// The reason why a command was not committed. Definite: nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the user does not exist or is not active")]
    InvalidUser,
    #[error("the seat costs {needed} credits, the user has {has}")]
    InsufficientCredits { needed: i64, has: i64 },
    #[error("the user holds {most} seats or more")]
    TooManySeats { most: usize },
    /// AdoptSession: the session belongs to an account.
    #[error("the session does not belong to a guest")]
    NotGuest,
    /// AdoptSession only.
    #[error("the user already holds a seat in one of the session's rooms")]
    AlreadySeated,
    #[error("the room code is taken")]
    CodeTaken,
    #[error("the seat is taken, or the user already holds a seat in the room")]
    SeatTaken,
    /// The session has ended, or belongs to another user.
    #[error("the session has ended")]
    SessionEnded,
    /// The seat is empty, or has another session or another hold.
    #[error("the seat has changed in the meantime")]
    SeatChanged,
    /// CloseRoom: the room is closed, or has seats.
    #[error("the room is closed or has seats")]
    RoomChanged,
    /// The room has another stream epoch.
    #[error("the stream is another one")]
    StreamChanged,
    /// The queue was full, or the deadline passed before the command reached the database.
    #[error("the database takes no writes at the moment")]
    Unavailable { retry_after: Duration },
    /// A command with the same idempotency key was carried out before: its stored response.
    #[error("the command was carried out before")]
    Repeated(StoredResponse),
    #[error("the idempotency key belongs to another command")]
    KeyReused,
    /// A violated constraint, which only a bug can cause.
    #[error("the database refused the change")]
    Internal,
}

//! Commands: every write to the database as plain data, with its answer and its refusals.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::news::{News, Offsets, SessionNews, SessionWords};
use super::once::{Kept, Once};
use super::sweep::{Sweep, Swept};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, TokenHash, UserId};
use crate::token::Generations;

/// A write, committed whole or not at all. Its answer follows the commit.
#[derive(Debug, Clone)]
pub enum Command {
    OpenSession(OpenSession),
    OpenRoom(Box<OpenRoom>),
    ClaimSeat(Box<ClaimSeat>),
    ReleaseSeat(ReleaseSeat),
    HoldSeat(HoldSeat),
    ConfirmToken(Box<ConfirmToken>),
    EndTokens(EndTokens),
    EndSession(EndSession),
    AdoptSession(Box<AdoptSession>),
    CloseRoom(RoomId),
    Publish(Publish),
    RemoveHistory(RemoveHistory),
    /// One more token for a live session. Beyond the limit the first token and the newest ones stay.
    AddToken(AddToken),
    Sweep(Sweep),
    /// No change: only its idempotency key is looked up, and its response stored if it has one.
    Nothing,
}

/// A command, its idempotency key, and the room events that describe it.
#[derive(Debug, Clone)]
pub struct Write {
    pub command: Command,
    pub once: Option<Arc<Once>>,
    /// Committed together with the command, if it is carried out.
    pub news: Option<Box<News>>,
}

impl Write {
    pub fn once(command: Command, once: Option<Arc<Once>>) -> Write {
        Write {
            command,
            once,
            news: None,
        }
    }
}

impl From<Command> for Write {
    fn from(command: Command) -> Write {
        Write::once(command, None)
    }
}

/// The user a command acts for.
#[derive(Debug, Clone)]
pub enum UserWrite {
    /// Must exist and be active.
    Known(UserId),
    /// A guest created by this command.
    Guest { id: UserId, name: Arc<str> },
    /// The game's own user: created if missing, otherwise it must be active. A given name replaces the stored one.
    Account { id: UserId, name: Option<Arc<str>> },
}

impl UserWrite {
    pub(super) fn id(&self) -> &UserId {
        match self {
            UserWrite::Known(id) | UserWrite::Guest { id, .. } | UserWrite::Account { id, .. } => {
                id
            }
        }
    }
}

#[derive(Debug, Clone)]
pub enum SessionWrite {
    Known(SessionId),
    New(NewSession),
}

#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    /// None for a session that no client connects to with a token.
    pub token: Option<TokenHash>,
    pub expires_at: HubTime,
    /// None without a login, or with a login that does not end.
    pub login_until: Option<HubTime>,
}

#[derive(Debug, Clone)]
pub struct OpenSession {
    pub user: UserWrite,
    pub session: NewSession,
}

/// A new room with its first seat, and its user and session if they are new, in one commit.
#[derive(Debug, Clone)]
pub struct OpenRoom {
    pub room: NewRoom,
    pub user: UserWrite,
    pub session: SessionWrite,
    pub seat: NewSeat,
    /// Credits charged to the user.
    pub cost: i64,
}

#[derive(Debug, Clone)]
pub struct NewRoom {
    pub id: RoomId,
    pub code: RoomCode,
    pub kind: Arc<str>,
    /// A JSON object.
    pub settings: Arc<str>,
    pub grace: Duration,
    pub stream_epoch: Arc<str>,
}

#[derive(Debug, Clone)]
pub struct NewSeat {
    pub number: u16,
    pub team: Option<Arc<str>>,
    /// None: held. Some: away from the start, because its holder has no connection.
    pub hold_until: Option<HubTime>,
    /// The generations that its tokens start from.
    pub tokens: Generations,
}

#[derive(Debug, Clone)]
pub struct ClaimSeat {
    pub room: RoomId,
    pub user: UserWrite,
    pub session: SessionWrite,
    pub seat: NewSeat,
    pub cost: i64,
}

#[derive(Debug, Clone)]
pub struct ReleaseSeat {
    pub room: RoomId,
    pub seat: u16,
    pub session: SessionId,
    /// Set when a hold has expired: the seat is released only if it is still away with exactly this hold.
    pub hold_until: Option<HubTime>,
}

/// A new end for the hold of an away seat.
#[derive(Debug, Clone)]
pub struct HoldSeat {
    pub room: RoomId,
    pub seat: u16,
    pub session: SessionId,
    pub hold_until: HubTime,
}

/// A takeover by seat token: a new session of the seat's user gets the seat, away, and the token's generation is
/// confirmed.
#[derive(Debug, Clone)]
pub struct ConfirmToken {
    pub room: RoomId,
    pub seat: u16,
    /// Must exist and be active, and hold the seat.
    pub user: UserWrite,
    /// The session that holds the seat so far.
    pub from: SessionId,
    pub session: NewSession,
    pub hold_until: HubTime,
    pub tokens: Generations,
}

/// The end of all seat tokens signed so far, because an outdated one was used again.
#[derive(Debug, Clone)]
pub struct EndTokens {
    pub room: RoomId,
    pub seat: u16,
    pub session: SessionId,
    pub tokens: Generations,
}

/// The end of a session, with its tokens and its seats.
#[derive(Debug, Clone)]
pub struct EndSession {
    pub session: SessionId,
    /// The rooms with durable streams in which it has a seat: the same commit publishes there that it left.
    pub told_in: Vec<RoomId>,
    pub words: SessionWords,
}

/// A guest's login: the session, its seats and its scores become the user's. All tokens of the session end, and the
/// seats' tokens with them.
#[derive(Debug, Clone)]
pub struct AdoptSession {
    pub session: SessionId,
    /// The guest who must still own the session.
    pub guest: UserId,
    pub user: UserWrite,
    /// The session's only token from then on.
    pub token: TokenHash,
    pub expires_at: HubTime,
    pub login_until: Option<HubTime>,
    /// The rooms with durable streams in which it has a seat: the same commit publishes the new holder there.
    pub told_in: Vec<RoomId>,
    pub words: SessionWords,
}

/// Publications for one durable stream, in order: all are stored or none. The commit assigns the offsets that follow
/// the stream's top, so a refusal leaves no gap.
#[derive(Debug, Clone)]
pub struct Publish {
    pub stream: StreamId,
    pub publications: Arc<[NewPublication]>,
}

/// The durable stream of a room. A command for a stream other than the stored one is refused as stale.
#[derive(Debug, Clone)]
pub struct StreamId {
    pub room: RoomId,
    pub epoch: Arc<str>,
    /// Set for a stream that the database may not have yet: the offset after which it begins.
    pub begins_after: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPublication {
    pub data: Bytes,
    /// The publisher as JSON, if there was one.
    pub info: Option<Bytes>,
    /// A JSON object, if there are tags.
    pub tags: Option<Bytes>,
    pub time: HubTime,
}

/// The removal of a durable stream's history up to and including an offset. The stream epoch and top stay.
#[derive(Debug, Clone)]
pub struct RemoveHistory {
    pub room: RoomId,
    pub epoch: Arc<str>,
    pub up_to: u64,
}

#[derive(Debug, Clone)]
pub struct AddToken {
    pub session: SessionId,
    pub token: TokenHash,
}

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
    /// The stored state is not the expected one: a seat has another holder or hold, or a session has ended or has
    /// another user. Or a room is closed or still has seats, or the stream is another one.
    #[error("the stored state has changed in the meantime")]
    Stale,
    /// The queue was full, or the deadline passed before the command reached the database.
    #[error("the database takes no writes at the moment")]
    Unavailable { retry_after: Duration },
    /// A command with the same idempotency key was carried out before: its stored response.
    #[error("the command was carried out before")]
    Repeated(Kept),
    #[error("the idempotency key belongs to another command")]
    KeyReused,
    /// A violated constraint, which only a bug can cause.
    #[error("the database refused the change")]
    Internal,
}

/// A coalesced write: the newest per key is committed with the next group. It may be lost.
#[derive(Debug, Clone)]
pub enum SoftWrite {
    SeatAway {
        room: RoomId,
        seat: u16,
        session: SessionId,
        since: HubTime,
        hold_until: HubTime,
    },
    SeatBack {
        room: RoomId,
        seat: u16,
        session: SessionId,
        at: HubTime,
    },
    /// The session was used: its expiry moves on, unless the session has become another user's.
    SessionSeen {
        session: SessionId,
        user: UserId,
        at: HubTime,
        expires_at: HubTime,
        login_until: Option<HubTime>,
    },
    /// A durable stream no longer keeps its publications below an offset.
    PruneHistory {
        room: RoomId,
        epoch: Arc<str>,
        below: u64,
    },
    /// The hub is alive at this moment.
    Heartbeat { at: HubTime },
}

/// A session as stored.
#[derive(Debug, Clone)]
pub struct StoredSession {
    pub id: SessionId,
    pub user: UserId,
    pub user_name: Arc<str>,
    pub expires_at: HubTime,
    pub login_until: Option<HubTime>,
    pub is_ended: bool,
    pub tokens: Vec<TokenHash>,
    pub seats: Vec<StoredSeat>,
}

/// A held or away seat, as stored.
#[derive(Debug, Clone)]
pub struct StoredSeat {
    pub room: RoomId,
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub number: u16,
    pub team: Option<Arc<str>>,
    pub session: SessionId,
    pub user: UserId,
    pub user_name: Arc<str>,
    pub grace: Duration,
    /// None while held.
    pub hold_until: Option<HubTime>,
    pub tokens: Generations,
}

/// A room as stored.
#[derive(Debug, Clone)]
pub struct StoredRoom {
    pub id: RoomId,
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub settings: Arc<str>,
    pub grace: Duration,
    pub current_game_id: Option<Arc<str>>,
    pub stream: StoredStream,
    pub is_closed: bool,
    pub seats: Vec<StoredSeat>,
}

/// A room's stream as stored: written out at a planned stop, or always if it is durable.
#[derive(Debug, Clone, Default)]
pub struct StoredStream {
    pub epoch: Arc<str>,
    pub top: u64,
    /// True if the stream may continue after `top` under its `epoch`: false for a memory stream after a crash.
    pub is_continued: bool,
    /// True if the database has the whole history. Its publications are then read when they are needed.
    pub is_durable: bool,
    pub publications: Vec<StoredPublication>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPublication {
    pub offset: u64,
    pub data: Bytes,
    /// The publisher as JSON, if there was one.
    pub info: Option<Bytes>,
    /// A JSON object, if there are tags.
    pub tags: Option<Bytes>,
    pub time: HubTime,
}

/// The newest publications of a durable stream, as many as are worth reading.
#[derive(Debug, Clone)]
pub struct HistoryWindow {
    pub room: RoomId,
    pub epoch: Arc<str>,
    /// The newest offset. Publications before a gap are left out.
    pub top: u64,
    pub count_max: usize,
    pub bytes_max: usize,
    /// Older publications are left out.
    pub since: HubTime,
}

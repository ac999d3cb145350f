//! What can be written, as values in the words of the design.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::news::{News, Offsets, SessionNews, SessionWords};
use super::once::{Kept, Once};
use super::sweep::{Sweep, Swept};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, TokenHash, UserId};
use crate::token::Generations;

/// One change, committed whole or not at all. Its answer follows the commit.
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
    /// One more token for a session that lives. Of many the first stays, and the newest.
    AddToken(AddToken),
    Sweep(Sweep),
    /// Nothing: what counts is its key.
    Nothing,
}

/// A command, what lets it happen only once, and what is told of it.
#[derive(Debug, Clone)]
pub struct Write {
    pub command: Command,
    pub once: Option<Arc<Once>>,
    /// Stored if the command is carried out, in the same commit.
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

/// Whose the change is.
#[derive(Debug, Clone)]
pub enum UserWrite {
    /// Must exist and be active.
    Known(UserId),
    /// A guest, made by this command.
    Guest { id: UserId, name: Arc<str> },
    /// The game's own user: made if it does not exist yet, otherwise it must be active. A name given
    /// replaces the stored one.
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
    /// None for a session that nobody will ask a token of.
    pub token: Option<TokenHash>,
    pub expires_at: HubTime,
    /// None without a login, or with one that has no end.
    pub login_until: Option<HubTime>,
}

#[derive(Debug, Clone)]
pub struct OpenSession {
    pub user: UserWrite,
    pub session: NewSession,
}

/// Room, player, seat and session in one commit.
#[derive(Debug, Clone)]
pub struct OpenRoom {
    pub room: NewRoom,
    pub user: UserWrite,
    pub session: SessionWrite,
    pub seat: NewSeat,
    /// Credits taken from the user.
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
    /// Where its tokens begin.
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
    /// Set when the hold is over: the seat is released only if it is still away with this very hold.
    pub hold_until: Option<HubTime>,
}

/// Keeps an away seat until another moment.
#[derive(Debug, Clone)]
pub struct HoldSeat {
    pub room: RoomId,
    pub seat: u16,
    pub session: SessionId,
    pub hold_until: HubTime,
}

/// A seat token was presented: puts a new session of the seat's user into the seat, away, and confirms
/// the token's generation.
#[derive(Debug, Clone)]
pub struct ConfirmToken {
    pub room: RoomId,
    pub seat: u16,
    /// Must exist and be active, and hold the seat.
    pub user: UserWrite,
    /// Which holds the seat until now.
    pub from: SessionId,
    pub session: NewSession,
    pub hold_until: HubTime,
    pub tokens: Generations,
}

/// A seat token was used again after a newer one: ends what was signed for the seat so far.
#[derive(Debug, Clone)]
pub struct EndTokens {
    pub room: RoomId,
    pub seat: u16,
    pub session: SessionId,
    pub tokens: Generations,
}

/// Ends the session, its tokens and its seats.
#[derive(Debug, Clone)]
pub struct EndSession {
    pub session: SessionId,
    /// The rooms with durable streams in which it sits: that it has left is told there in the same commit.
    pub told_in: Vec<RoomId>,
    pub words: SessionWords,
}

/// A guest has logged in: its session, its seats and its scores become the user's. All tokens of the session end, and the
/// seats' tokens with them.
#[derive(Debug, Clone)]
pub struct AdoptSession {
    pub session: SessionId,
    /// Whose the session must be until now.
    pub guest: UserId,
    pub user: UserWrite,
    /// The session's only token from then on.
    pub token: TokenHash,
    pub expires_at: HubTime,
    pub login_until: Option<HubTime>,
    /// The rooms with durable streams in which it sits: who sits there now is told there in the same commit.
    pub told_in: Vec<RoomId>,
    pub words: SessionWords,
}

/// Publications of one durable stream, in order: all of them are stored, or none. The commit gives them
/// the offsets that follow the stream's top, so a refusal leaves no hole.
#[derive(Debug, Clone)]
pub struct Publish {
    pub stream: StreamId,
    pub publications: Arc<[NewPublication]>,
}

/// The durable stream of a room. Whoever means another one than the database has is refused as stale.
#[derive(Debug, Clone)]
pub struct StreamId {
    pub room: RoomId,
    pub epoch: Arc<str>,
    /// Set for a stream that the database may not have yet: the offset after which it begins there.
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

/// Forgets what a durable stream has kept, up to and with an offset. Its epoch and top stay.
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

/// The answer of a committed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// OpenSession, OpenRoom, ClaimSeat, ConfirmToken: the user as stored.
    Player { user: UserId, name: Arc<str> },
    /// Publish: the offset of the first.
    Published { first: u64 },
    /// A command with news: its own answer, and where the news are.
    Told {
        of: Box<Committed>,
        offsets: Offsets,
    },
    /// EndSession: what was told in the durable streams of its rooms.
    Ended(Vec<SessionNews>),
    /// AdoptSession: what the user is called, and what was told in the durable streams of its rooms.
    Adopted {
        name: Arc<str>,
        told: Vec<SessionNews>,
    },
    /// Sweep: rows removed.
    Swept(Swept),
    /// All others.
    Done,
}

/// Why a command was not committed. Definite: nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the user does not exist or is not active")]
    InvalidUser,
    #[error("the seat costs {needed} credits, the user has {has}")]
    InsufficientCredits { needed: i64, has: i64 },
    #[error("the user holds {most} seats or more")]
    TooManySeats { most: usize },
    /// AdoptSession: the session is an account's.
    #[error("the session is no guest's")]
    NotGuest,
    /// AdoptSession.
    #[error("the user sits in one of the session's rooms already")]
    AlreadySeated,
    #[error("the room code is taken")]
    CodeTaken,
    #[error("the seat is taken, or the user already sits in the room")]
    SeatTaken,
    /// ReleaseSeat, HoldSeat, ConfirmToken, EndTokens: the seat is not in the state that was to be changed. AdoptSession: the session
    /// has ended, or is the guest's no more. Publish: the stream is another.
    #[error("what was to be changed has changed meanwhile")]
    Stale,
    /// Full queue, or the deadline passed before the command reached the database.
    #[error("the database does not take writes at the moment")]
    Unavailable { retry_after: Duration },
    /// It was done before, under the same key: this is what it was answered with.
    #[error("the command was carried out before")]
    Repeated(Kept),
    #[error("the key stands for another command")]
    KeyReused,
    /// A constraint that only a bug can violate.
    #[error("the database refused the change")]
    Internal,
}

/// A mark that may be lost: the newest per key goes with the next group.
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
    /// The session was used: its life slides on, unless it has become another user's.
    SessionSeen {
        session: SessionId,
        user: UserId,
        at: HubTime,
        expires_at: HubTime,
        login_until: Option<HubTime>,
    },
    /// What a durable stream keeps no longer: everything below an offset.
    PruneHistory {
        room: RoomId,
        epoch: Arc<str>,
        below: u64,
    },
    /// The hub is alive at this moment.
    Heartbeat { at: HubTime },
}

/// A session as the database has it.
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

/// A seat that somebody holds, as the database has it.
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

/// A room as the database has it.
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

/// A room's stream as the database has it: written out at a planned stop, or always if it is durable.
#[derive(Debug, Clone, Default)]
pub struct StoredStream {
    pub epoch: Arc<str>,
    pub top: u64,
    /// Whether `epoch` and `top` may be taken up again: false after a crash for a memory stream.
    pub is_continued: bool,
    /// Whether the database has all of it. Its publications are then read when they are needed.
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
    /// The offset of the newest: what has no unbroken way to it is left out.
    pub top: u64,
    pub count_max: usize,
    pub bytes_max: usize,
    /// Older ones are left out.
    pub since: HubTime,
}

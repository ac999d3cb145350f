//! Commands that open, adopt and end sessions.

use super::{Command, NewSession, UserWrite};
use crate::clock::HubTime;
use crate::id::{RoomId, SessionId, TokenHash, UserId};

/// A change of a session as a whole.
#[derive(Debug, Clone)]
pub enum SessionCommand {
    Open(OpenSession),
    /// One more token for a live session. Beyond the limit the first token and the newest ones stay.
    AddToken(AddToken),
    Adopt(Box<AdoptSession>),
    End(EndSession),
    /// All open sessions of a user end, as each would by itself. It needs a group of its own.
    EndAll(EndSessions),
}

#[derive(Debug, Clone)]
pub struct OpenSession {
    pub user: UserWrite,
    pub session: NewSession,
}

#[derive(Debug, Clone)]
pub struct AddToken {
    pub session: SessionId,
    pub token: TokenHash,
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
}

/// The end of a session, with its tokens and its seats.
#[derive(Debug, Clone)]
pub struct EndSession {
    pub session: SessionId,
    /// The rooms with durable streams in which it has a seat: the same commit publishes there that it left.
    pub told_in: Vec<RoomId>,
}

/// The end of all open sessions of a user, with their tokens and their seats. The same commit publishes in each durable
/// stream of their rooms that the user left.
#[derive(Debug, Clone)]
pub struct EndSessions {
    pub user: UserId,
}

impl From<SessionCommand> for Command {
    fn from(command: SessionCommand) -> Command {
        Command::Session(command)
    }
}

//! Commands that open and close rooms.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, NewSeat, SessionWrite, UserWrite};
use crate::id::{RoomCode, RoomId};

/// A change of a room as a whole.
#[derive(Debug, Clone)]
pub enum RoomCommand {
    Open(Box<OpenRoom>),
    /// Closes a room that has no seats.
    Close(RoomId),
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

impl From<RoomCommand> for Command {
    fn from(command: RoomCommand) -> Command {
        Command::Room(command)
    }
}

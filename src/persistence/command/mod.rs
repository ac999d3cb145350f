//! Commands: every write to the database as plain data, with its answer and its refusals.
//!
//! A command belongs to the noun whose rows it changes. A new command is a variant of one family: its file here, the
//! statements of that noun, and the room of the house that asks for it.

mod coalesced;
mod maintenance;
mod outcome;
mod player;
mod room;
mod seat;
mod session;
mod stream;

use std::sync::Arc;

pub use self::coalesced::SoftWrite;
pub use self::maintenance::MaintenanceCommand;
pub use self::outcome::{Committed, EndedSessions, Refused};
pub use self::player::{NewSession, SessionWrite, UserWrite};
pub use self::room::{NewRoom, OpenRoom, RoomCommand};
pub use self::seat::{
    ClaimSeat, ConfirmToken, EndTokens, HoldSeat, NewSeat, ReleaseSeat, SeatCommand,
};
pub use self::session::{
    AddToken, AdoptSession, EndSession, EndSessions, OpenSession, SessionCommand,
};
pub use self::stream::{NewPublication, Publish, RemoveHistory, StreamCommand, StreamId};

use super::news::News;
use super::once::IdempotencyRecord;

/// A write, committed whole or not at all. Its answer follows the commit.
#[derive(Debug, Clone)]
pub enum Command {
    Seat(SeatCommand),
    Room(RoomCommand),
    Session(SessionCommand),
    Stream(StreamCommand),
    Maintenance(MaintenanceCommand),
}

/// A command, its idempotency key, and the room events that describe it.
#[derive(Debug, Clone)]
pub struct Write {
    pub command: Command,
    pub once: Option<Arc<IdempotencyRecord>>,
    /// Committed together with the command, if it is carried out.
    pub news: Option<Box<News>>,
}

impl Write {
    pub fn once(command: impl Into<Command>, once: Option<Arc<IdempotencyRecord>>) -> Write {
        Write {
            command: command.into(),
            once,
            news: None,
        }
    }
}

impl<C: Into<Command>> From<C> for Write {
    fn from(command: C) -> Write {
        Write::once(command, None)
    }
}

//! A common view of the commands that bring a player.

use crate::id::{RoomId, SessionId};
use crate::persistence::item::Item;
use crate::persistence::{
    Command, ConfirmToken, NewRoom, NewSeat, NewSession, RoomCommand, SeatCommand, SessionCommand,
    SessionWrite, UserWrite,
};

/// A user and a session, perhaps with a room and a seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The place of its command in the group.
    pub(crate) index: usize,
    pub(crate) user: &'a UserWrite,
    pub(crate) session: Session<'a>,
    pub(crate) room: Option<&'a NewRoom>,
    pub(crate) seat: Option<(RoomId, &'a NewSeat)>,
    /// A takeover: the seat that the user holds in another session.
    pub(crate) taken: Option<&'a ConfirmToken>,
    /// In credits, never negative.
    pub(crate) cost: i64,
}

impl<'a> Entry<'a> {
    /// A user and a session, and nothing else.
    pub(crate) fn new(index: usize, user: &'a UserWrite, session: Session<'a>) -> Entry<'a> {
        Entry {
            index,
            user,
            session,
            room: None,
            seat: None,
            taken: None,
            cost: 0,
        }
    }
}

/// The session of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Session<'a> {
    Known(SessionId),
    New(&'a NewSession),
}

impl Session<'_> {
    pub(crate) fn id(self) -> SessionId {
        match self {
            Session::Known(id) => id,
            Session::New(session) => session.id,
        }
    }
}

impl<'a> From<&'a SessionWrite> for Session<'a> {
    fn from(session: &'a SessionWrite) -> Session<'a> {
        match session {
            SessionWrite::Known(id) => Session::Known(*id),
            SessionWrite::New(session) => Session::New(session),
        }
    }
}

pub(crate) fn of(items: &[Item]) -> Vec<Entry<'_>> {
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| entry(index, &item.command))
        .collect()
}

/// Returns the view of a command that brings a player.
pub(crate) fn entry(index: usize, command: &Command) -> Option<Entry<'_>> {
    match command {
        Command::Seat(command) => seat_entry(index, command),
        Command::Room(RoomCommand::Open(open)) => Some(Entry {
            room: Some(&open.room),
            seat: Some((open.room.id, &open.seat)),
            cost: open.cost.max(0),
            ..Entry::new(index, &open.user, (&open.session).into())
        }),
        Command::Session(SessionCommand::Open(open)) => {
            Some(Entry::new(index, &open.user, Session::New(&open.session)))
        }
        Command::Room(RoomCommand::Close(_))
        | Command::Session(
            SessionCommand::AddToken(_)
            | SessionCommand::Adopt(_)
            | SessionCommand::End(_)
            | SessionCommand::EndAll(_),
        )
        | Command::Stream(_)
        | Command::Maintenance(_) => None,
    }
}

fn seat_entry(index: usize, command: &SeatCommand) -> Option<Entry<'_>> {
    match command {
        SeatCommand::Claim(claim) => Some(Entry {
            seat: Some((claim.room, &claim.seat)),
            cost: claim.cost.max(0),
            ..Entry::new(index, &claim.user, (&claim.session).into())
        }),
        SeatCommand::TakeOver(confirm) => Some(Entry {
            taken: Some(confirm),
            ..Entry::new(index, &confirm.user, Session::New(&confirm.session))
        }),
        SeatCommand::Release(_) | SeatCommand::Hold(_) | SeatCommand::EndTokens(_) => None,
    }
}

//! A common view of the commands that bring a player.

use crate::id::{RoomId, SessionId};
use crate::persistence::item::Item;
use crate::persistence::{
    Command, ConfirmToken, NewRoom, NewSeat, NewSession, SessionWrite, UserWrite,
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

pub(crate) fn entry(index: usize, command: &Command) -> Option<Entry<'_>> {
    match command {
        Command::OpenSession(open) => Some(Entry {
            index,
            user: &open.user,
            session: Session::New(&open.session),
            room: None,
            seat: None,
            taken: None,
            cost: 0,
        }),
        Command::OpenRoom(open) => Some(Entry {
            index,
            user: &open.user,
            session: (&open.session).into(),
            room: Some(&open.room),
            seat: Some((open.room.id, &open.seat)),
            taken: None,
            cost: open.cost.max(0),
        }),
        Command::ClaimSeat(claim) => Some(Entry {
            index,
            user: &claim.user,
            session: (&claim.session).into(),
            room: None,
            seat: Some((claim.room, &claim.seat)),
            taken: None,
            cost: claim.cost.max(0),
        }),
        Command::ConfirmToken(confirm) => Some(Entry {
            index,
            user: &confirm.user,
            session: Session::New(&confirm.session),
            room: None,
            seat: None,
            taken: Some(confirm),
            cost: 0,
        }),
        Command::ReleaseSeat(_)
        | Command::HoldSeat(_)
        | Command::EndTokens(_)
        | Command::EndSession(_)
        | Command::AdoptSession(_)
        | Command::CloseRoom(_)
        | Command::Publish(_)
        | Command::RemoveHistory(_)
        | Command::AddToken(_)
        | Command::Sweep(_)
        | Command::Nothing => None,
    }
}

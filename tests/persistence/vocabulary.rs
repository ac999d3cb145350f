//! Commands in the words of the tests.

use std::time::Duration;

use holdfast::clock::HubTime;
use holdfast::id::{RoomCode, RoomId, SessionId, SessionToken, UserId};
use holdfast::persistence::{
    AdoptSession, ClaimSeat, Command, EndSession, ExpiredRows, MaintenanceCommand, NewRoom,
    NewSeat, NewSession, OpenRoom, OpenSession, ReleaseSeat, RoomCommand, SeatCommand,
    SessionCommand, SessionWrite, Sweep, UserWrite,
};
use holdfast::token::Generations;

/// The whole hold of the rooms in these tests.
pub(super) const GRACE: Duration = Duration::from_secs(300);

/// Far away.
pub(super) const EXPIRES: HubTime = HubTime(4_000_000_000_000);

/// A player who is new to the hub.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) token: SessionToken,
}

impl Player {
    pub(super) fn new() -> Player {
        Player {
            user: UserId::guest(),
            session: SessionId::new(),
            token: SessionToken::random(),
        }
    }

    pub(super) fn guest(&self) -> UserWrite {
        UserWrite::Guest {
            id: self.user.clone(),
            name: "Ana".into(),
        }
    }

    pub(super) fn new_session(&self) -> NewSession {
        NewSession {
            id: self.session,
            token: Some(self.token.hash()),
            expires_at: EXPIRES,
            login_until: None,
        }
    }

    pub(super) fn opens_session(&self) -> Command {
        self.opens_session_as(self.guest())
    }

    pub(super) fn opens_session_as(&self, user: UserWrite) -> Command {
        SessionCommand::Open(OpenSession {
            user,
            session: self.new_session(),
        })
        .into()
    }

    /// Opens a room as a guest and sits on seat 0.
    pub(super) fn opens(&self, room: &Room) -> Command {
        self.opens_as(room, self.guest(), 0)
    }

    pub(super) fn opens_as(&self, room: &Room, user: UserWrite, cost: i64) -> Command {
        RoomCommand::Open(Box::new(OpenRoom {
            room: room.new_room(),
            user,
            session: SessionWrite::New(self.new_session()),
            seat: seat(0),
            cost,
        }))
        .into()
    }

    /// Claims a seat as a guest with a session that is new.
    pub(super) fn claims(&self, room: &Room, number: u16) -> Command {
        self.claims_as(room, number, self.guest(), 0)
    }

    pub(super) fn claims_as(
        &self,
        room: &Room,
        number: u16,
        user: UserWrite,
        cost: i64,
    ) -> Command {
        SeatCommand::Claim(Box::new(ClaimSeat {
            room: room.id,
            user,
            session: SessionWrite::New(self.new_session()),
            seat: seat(number),
            cost,
        }))
        .into()
    }

    /// The guest becomes this user, who is let in until that moment.
    pub(super) fn logs_in_as(&self, user: &str, until: HubTime) -> Command {
        SessionCommand::Adopt(Box::new(AdoptSession {
            session: self.session,
            guest: self.user.clone(),
            user: UserWrite::Account {
                id: UserId::parse(user).unwrap(),
                name: None,
            },
            token: SessionToken::random().hash(),
            expires_at: EXPIRES,
            login_until: Some(until),
            told_in: Vec::new(),
        }))
        .into()
    }

    pub(super) fn releases(&self, room: &Room, number: u16, hold: Option<HubTime>) -> Command {
        SeatCommand::Release(ReleaseSeat {
            room: room.id,
            seat: number,
            session: self.session,
            hold_until: hold,
        })
        .into()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) code: RoomCode,
}

impl Room {
    pub(super) fn new() -> Room {
        Room {
            id: RoomId::new(),
            code: RoomCode::random(),
        }
    }

    fn new_room(&self) -> NewRoom {
        NewRoom {
            id: self.id,
            code: self.code,
            kind: "table".into(),
            settings: "{}".into(),
            grace: GRACE,
            stream_epoch: "first".into(),
        }
    }
}

/// A command that changes nothing, in the lane of all that exists.
pub(super) fn sweeps_nothing() -> Command {
    MaintenanceCommand::Sweep(Sweep {
        what: ExpiredRows::Groups,
        before: HubTime(0),
    })
    .into()
}

/// Ends a session that sits in no room with a durable stream, as far as it knows.
pub(super) fn ends(session: SessionId) -> Command {
    ends_in(session, Vec::new())
}

/// Ends a session that sits in these rooms with durable streams.
pub(super) fn ends_in(session: SessionId, told_in: Vec<RoomId>) -> Command {
    SessionCommand::End(EndSession { session, told_in }).into()
}

/// Even seats are without a team and held, odd ones in the red team.
fn seat(number: u16) -> NewSeat {
    NewSeat {
        number,
        team: (number % 2 == 1).then(|| "red".into()),
        hold_until: None,
        tokens: Generations::begin(HubTime(0)),
    }
}

//! Commands that change one seat of a room.

use std::sync::Arc;

use super::{Command, NewSession, SessionWrite, UserWrite};
use crate::clock::HubTime;
use crate::id::{RoomId, SessionId};
use crate::token::Generations;

/// A change of one seat.
#[derive(Debug, Clone)]
pub enum SeatCommand {
    Claim(Box<ClaimSeat>),
    Release(ReleaseSeat),
    Hold(HoldSeat),
    /// A seat token is redeemed.
    TakeOver(Box<ConfirmToken>),
    EndTokens(EndTokens),
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

impl From<SeatCommand> for Command {
    fn from(command: SeatCommand) -> Command {
        Command::Seat(command)
    }
}

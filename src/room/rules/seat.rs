//! The state of one seat: its occupant, and the change that is being written.

use super::seats::Claim;
use crate::clock::HubTime;
use crate::id::SessionId;
use crate::room::seat_event::AttachSeq;
use crate::token::Generations;
use crate::wire::{Reason, Refusal};
use crate::wire::{SeatStatus, UserView};
use std::time::Duration;

/// A session that holds, claims or releases a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::room) struct Occupant {
    pub(in crate::room) session: SessionId,
    pub(in crate::room) user: UserView,
    /// The newest attach sequence of the session that the room knows.
    pub(in crate::room) epoch: AttachSeq,
    /// None while held; the end of the hold while away.
    pub(in crate::room) hold_until: Option<HubTime>,
    /// The hold as it was last published, stored and scheduled. It lags behind while a change of
    /// the seat is being written.
    pub(in crate::room) recorded: Option<HubTime>,
    pub(in crate::room) tokens: Generations,
}

impl Occupant {
    /// Returns the end of a hold that begins now.
    pub(in crate::room) fn hold_from(now: HubTime, grace: Duration) -> HubTime {
        now.plus(grace)
    }

    pub(in crate::room) fn status(&self) -> SeatStatus {
        match self.hold_until {
            None => SeatStatus::Held,
            Some(_) => SeatStatus::Away,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::room) enum Place {
    Empty,
    Claimed(Occupant),
    Taken(Occupant),
    /// As taken, while the move to another session of the same user is being written.
    Moving(Occupant),
    Releasing(Occupant),
}

impl Place {
    pub(in crate::room) fn occupant(&self) -> Option<&Occupant> {
        match self {
            Place::Empty => None,
            Place::Claimed(occupant)
            | Place::Taken(occupant)
            | Place::Moving(occupant)
            | Place::Releasing(occupant) => Some(occupant),
        }
    }

    pub(in crate::room) fn occupant_mut(&mut self) -> Option<&mut Occupant> {
        match self {
            Place::Empty => None,
            Place::Claimed(occupant)
            | Place::Taken(occupant)
            | Place::Moving(occupant)
            | Place::Releasing(occupant) => Some(occupant),
        }
    }

    pub(in crate::room) fn taken(&self) -> Option<&Occupant> {
        match self {
            Place::Taken(occupant) | Place::Moving(occupant) => Some(occupant),
            Place::Empty | Place::Claimed(_) | Place::Releasing(_) => None,
        }
    }

    /// Returns the holder, unless a change of the seat is being written.
    pub(in crate::room) fn settled(&self) -> Option<&Occupant> {
        match self {
            Place::Taken(occupant) => Some(occupant),
            Place::Empty | Place::Claimed(_) | Place::Moving(_) | Place::Releasing(_) => None,
        }
    }

    /// Answers a claim of a user who has this seat already.
    pub(in crate::room) fn claimed_again(
        &self,
        session: SessionId,
        number: u16,
        is_wanted: bool,
    ) -> Result<Claim, Refusal> {
        let is_own = self.occupant().is_some_and(|who| who.session == session);
        match self {
            Place::Releasing(_) => {
                let detail = "the seat held before is still being released";
                Err(Refusal::new(Reason::Unavailable, detail))
            }
            Place::Moving(_) => {
                let detail = "the seat is being taken over by another session of its user";
                Err(Refusal::new(Reason::Unavailable, detail))
            }
            Place::Taken(_) if is_own && is_wanted => Ok(Claim::Sits(number)),
            Place::Claimed(_) if is_own && is_wanted => Ok(Claim::Pending(number)),
            Place::Taken(_) | Place::Claimed(_) if is_own => {
                let detail = format!("seat {number} is held here already; release it first");
                Err(Refusal::new(Reason::AlreadySeated, detail))
            }
            Place::Empty | Place::Taken(_) | Place::Claimed(_) => {
                let detail = "this user sits here in another session; connect again with the login to be that session";
                Err(Refusal::new(Reason::AlreadySeated, detail))
            }
        }
    }
}

//! Who has a seat.

use std::time::Duration;

use super::notice::Epoch;
use crate::clock::HubTime;
use crate::id::SessionId;
use crate::token::Generations;
use crate::wire::{SeatStatus, UserView};

/// Who has a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occupant {
    pub(super) session: SessionId,
    pub(super) user: UserView,
    /// The newest attachment of the session that the room has heard of.
    pub(super) epoch: Epoch,
    /// None while held; the end of the hold while away.
    pub(super) hold_until: Option<HubTime>,
    /// The hold as it was last published, marked for its row, and scheduled. It lags behind while a change of the
    /// seat is being written.
    pub(super) recorded: Option<HubTime>,
    pub(super) tokens: Generations,
}

impl Occupant {
    /// When a hold that begins now will end.
    pub(super) fn hold_from(now: HubTime, grace: Duration) -> HubTime {
        now.plus(grace)
    }

    pub(super) fn status(&self) -> SeatStatus {
        match self.hold_until {
            None => SeatStatus::Held,
            Some(_) => SeatStatus::Away,
        }
    }
}

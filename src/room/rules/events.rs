//! Room events: the hub's own publications about seats and about the room itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::seats::Occupant;
use crate::room::seat_event::whole_seconds;
use crate::wire::UserView;

/// The reason for which a room closes.
pub(in crate::room) const EMPTY: &str = "empty";

/// The reason for which a seat was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::room) enum ReleaseReason {
    Left,
    HoldOver,
    SessionEnded,
}

/// A room event, published in order with the game's own publications.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(in crate::room) enum News<'a> {
    #[serde(rename = "seat.held")]
    Held(SeatEventBody<'a>),
    #[serde(rename = "seat.away")]
    Away(SeatEventBody<'a>),
    #[serde(rename = "seat.back")]
    Back(SeatEventBody<'a>),
    #[serde(rename = "seat.released")]
    Released(SeatEventBody<'a>),
    #[serde(rename = "room.ready")]
    Ready,
    #[serde(rename = "room.closed")]
    Closed { reason: &'static str },
}

#[derive(Debug, Serialize)]
pub(in crate::room) struct SeatEventBody<'a> {
    seat: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<Arc<str>>,
    user: &'a UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReleaseReason>,
}

impl<'a> SeatEventBody<'a> {
    pub(in crate::room) fn new(
        seat: u16,
        team: Option<Arc<str>>,
        occupant: &'a Occupant,
    ) -> SeatEventBody<'a> {
        SeatEventBody::of(seat, team, &occupant.user)
    }

    pub(in crate::room) fn of(
        seat: u16,
        team: Option<Arc<str>>,
        user: &'a UserView,
    ) -> SeatEventBody<'a> {
        SeatEventBody {
            seat,
            team,
            user,
            hold_seconds: None,
            reason: None,
        }
    }

    pub(in crate::room) fn hold(mut self, grace: Duration) -> SeatEventBody<'a> {
        self.hold_seconds = Some(whole_seconds(grace));
        self
    }

    pub(in crate::room) fn reason(mut self, reason: ReleaseReason) -> SeatEventBody<'a> {
        self.reason = Some(reason);
        self
    }
}

impl News<'_> {
    pub(in crate::room) fn to_json(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("room events have text keys only")
            .into()
    }
}

//! Room events: the hub's own publications about seats and about the room itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::UserView;

/// The reason for which a seat was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The player left.
    Left,
    /// The player did not come back while the seat was held.
    HoldOver,
    SessionEnded,
}

/// The reason for which a room was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// All its seats were empty for long enough.
    Empty,
}

/// A room event, published in order with the game's own publications.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum RoomEvent {
    #[serde(rename = "seat.held")]
    Held(SeatEventBody),
    #[serde(rename = "seat.away")]
    Away(SeatEventBody),
    #[serde(rename = "seat.back")]
    Back(SeatEventBody),
    #[serde(rename = "seat.released")]
    Released(SeatEventBody),
    #[serde(rename = "room.ready")]
    Ready,
    #[serde(rename = "room.closed")]
    Closed { reason: CloseReason },
}

/// The seat that an event is about, and its holder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeatEventBody {
    seat: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<Arc<str>>,
    user: UserView,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ReleaseReason>,
}

impl SeatEventBody {
    pub fn new(seat: u16, team: Option<Arc<str>>, user: UserView) -> SeatEventBody {
        SeatEventBody {
            seat,
            team,
            user,
            hold_seconds: None,
            reason: None,
        }
    }

    /// Adds the time for which the seat is kept.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> SeatEventBody {
        self.hold_seconds = Some(whole_seconds(hold));
        self
    }

    /// Adds the reason for which the seat was released.
    #[must_use]
    pub fn reason(mut self, reason: ReleaseReason) -> SeatEventBody {
        self.reason = Some(reason);
        self
    }
}

impl RoomEvent {
    /// Sets the name of the event's user to the stored one, which may be known only in the commit of the change.
    #[must_use]
    pub fn named(mut self, name: &Arc<str>) -> RoomEvent {
        match &mut self {
            RoomEvent::Held(body)
            | RoomEvent::Away(body)
            | RoomEvent::Back(body)
            | RoomEvent::Released(body) => body.user.name = Arc::clone(name),
            RoomEvent::Ready | RoomEvent::Closed { .. } => {}
        }
        self
    }

    /// Returns the event as the data of a publication.
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("room events have text keys only")
            .into()
    }
}

/// Rounds up to seconds: no hold is shown as over while it lasts, and no client returns too early.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

//! Seat events: what a room sends, without waiting, to the sessions that sit in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::token::Generations;
use crate::wire::{SeatStatus, SeatView, whole_seconds};

/// The attach sequence: numbers the attachments of sessions to connections, across the whole process. The greater
/// number is the newer attachment, even across restarts of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachSeq(pub u64);

/// A seat in the form that its holder's session keeps.
#[derive(Debug, Clone)]
pub struct HeldSeat {
    pub room: RoomId,
    pub code: RoomCode,
    pub channel: Arc<str>,
    pub number: u16,
    pub team: Option<Arc<str>>,
    pub grace: Duration,
    /// None while held; the end of the hold while away.
    pub hold_until: Option<HubTime>,
    pub tokens: Generations,
}

impl HeldSeat {
    /// Returns the view of the seat, without a token.
    pub fn view(&self, now: HubTime) -> SeatView {
        let hold = self.hold_until.map_or(self.grace, |end| end.since(now));
        SeatView {
            room: self.code,
            channel: Arc::clone(&self.channel),
            seat: self.number,
            team: self.team.clone(),
            status: match self.hold_until {
                None => SeatStatus::Held,
                Some(_) => SeatStatus::Away,
            },
            hold_seconds: whole_seconds(hold),
            token: None,
            token_expires_at: None,
        }
    }
}

/// A seat event for the seat's session.
#[derive(Debug, Clone)]
pub enum SeatEvent {
    /// The session has a new seat; the room takes it for attached with this attach sequence.
    Gained {
        seat: HeldSeat,
        epoch: AttachSeq,
    },
    /// The answer to an attachment: the seat, if it is still the session's.
    Confirmed {
        room: RoomId,
        epoch: AttachSeq,
        seat: Option<HeldSeat>,
    },
    Released {
        room: RoomId,
    },
    /// The hold of an away seat was extended.
    Extended {
        room: RoomId,
        hold_until: HubTime,
    },
    /// The outcome of a release is unknown: the session has to ask the room later.
    Unsure {
        room: RoomId,
    },
    /// Another session of the same user has redeemed the seat's token.
    TakenOver {
        room: RoomId,
    },
    /// A token of the seat was used after a newer one: all tokens that were signed so far have ended.
    TokensEnded {
        room: RoomId,
        tokens: Generations,
    },
    /// The room was rebuilt and takes the session for away until it is notified otherwise.
    Restored {
        seat: HeldSeat,
    },
}

impl SeatEvent {
    /// Returns whether the room takes the session for attached, so that it must be notified when the attachment ends.
    pub fn is_of_attached(&self) -> bool {
        match self {
            SeatEvent::Gained { seat, .. } => seat.hold_until.is_none(),
            SeatEvent::Confirmed { .. }
            | SeatEvent::Released { .. }
            | SeatEvent::Extended { .. }
            | SeatEvent::Unsure { .. }
            | SeatEvent::TakenOver { .. }
            | SeatEvent::TokensEnded { .. }
            | SeatEvent::Restored { .. } => false,
        }
    }
}

/// The receiver of the rooms' seat events. It must not wait.
pub trait SeatListener: Send + Sync + 'static {
    fn hear(&self, session: SessionId, news: SeatEvent);
}

/// A guard for one claim of a session. Its drop notifies the session's count of claims, however the claim ends.
pub struct ClaimNotice(Box<dyn Fn() + Send + Sync>);

impl ClaimNotice {
    /// Wraps a callback that is called once and must not wait.
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> ClaimNotice {
        ClaimNotice(Box::new(tell))
    }
}

impl Drop for ClaimNotice {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for ClaimNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimNotice")
    }
}

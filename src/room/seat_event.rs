//! What a room tells the sessions that sit in it, without waiting for them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::token::Generations;
use crate::wire::{SeatStatus, SeatView};

/// Numbers the attachments of sessions to connections, over the whole process: the greater one is
/// the newer one, whatever was restarted in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachSeq(pub u64);

/// A seat as its holder's session knows it.
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
    /// What is shown of it, without a token.
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

/// Rounded up: a hold is never shown as over while it lasts.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A change of a seat, for its session.
#[derive(Debug, Clone)]
pub enum SeatEvent {
    /// The session has a new seat; the room believes it attached under this epoch.
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
    /// The hold of an away seat lasts longer.
    Extended {
        room: RoomId,
        hold_until: HubTime,
    },
    /// It is not known whether the seat was released: the room is asked once it knows.
    Unsure {
        room: RoomId,
    },
    /// Another session of the same user has come with the seat's token.
    TakenOver {
        room: RoomId,
    },
    /// A token of the seat was used again after a newer one: what was signed so far is over.
    TokensEnded {
        room: RoomId,
        tokens: Generations,
    },
    /// The room was rebuilt and takes the session for away until it hears otherwise.
    Restored {
        seat: HeldSeat,
    },
}

impl SeatEvent {
    /// Whether the room takes the session for attached: somebody must tell it when that ends.
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

/// Hears what rooms tell sessions. Must not wait.
pub trait SeatListener: Send + Sync + 'static {
    fn hear(&self, session: SessionId, news: SeatEvent);
}

/// Tells whoever counts the claims of a session that one has ended, however it ends.
pub struct ClaimNotice(Box<dyn Fn() + Send + Sync>);

impl ClaimNotice {
    /// `tell` is called once, and must not wait.
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

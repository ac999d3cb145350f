//! Claims that are being made for a session. Connections wait until they are over, to learn of the seats.

use super::state::{Phase, Session};
use crate::id::RoomCode;
use crate::persistence::Refused;
use crate::room::{ClaimNotice, refusal};
use crate::session::message::{ClaimTicket, SessionMessage};
use crate::wire::{Reason, Refusal};

/// Claims that one session may have under way; no game asks for more than a few rooms at once.
const CLAIMS_MAX: usize = 64;

impl Session {
    pub(crate) fn begin_claim(&mut self, code: Option<RoomCode>) -> Result<ClaimTicket, Refusal> {
        self.check_live()?;
        self.check_has_room_for(code)?;
        if self.claims == CLAIMS_MAX {
            let detail = format!("a session makes at most {CLAIMS_MAX} claims at once");
            return Err(Refusal::new(Reason::RateLimited, detail));
        }
        self.claims += 1;
        Ok(ClaimTicket {
            epoch: self.epoch,
            is_attached: matches!(self.phase, Phase::Attached(_)),
            expires_at: self.context.clock.on_wall(self.token_until()),
            notice: self.claim_notice(),
        })
    }

    /// Refuses a seat too many before anything is written. The write counts the seats of all sessions of the user; that of a
    /// room in which the session sits is none too many, as it is asked for again.
    fn check_has_room_for(&self, code: Option<RoomCode>) -> Result<(), Refusal> {
        let most = self.context.seats_max;
        let sits_there = || self.seats.iter().any(|seat| Some(seat.code) == code);
        match most == 0 || self.seats.len() < most || sits_there() {
            true => Ok(()),
            false => Err(refusal(&Refused::TooManySeats { most })),
        }
    }

    /// Tells this session, and none that is started later: only this one counts the claim.
    fn claim_notice(&self) -> ClaimNotice {
        let me = self.me.clone();
        ClaimNotice::new(move || {
            // It has stopped, and counts nothing any more.
            let _ = me.cast(SessionMessage::ClaimEnded);
        })
    }

    /// A claim is over, well or not.
    pub(crate) fn claim_ended(&mut self) {
        self.claims = self.claims.saturating_sub(1);
        self.advance();
        self.rest_if_idle();
    }
}

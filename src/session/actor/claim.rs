//! Claims that are under way for a session. An arriving connection waits until they are over, so that its connect reply
//! contains their seats.

use super::state::{Phase, Session};
use crate::id::RoomCode;
use crate::persistence::Refused;
use crate::room::{ClaimNotice, refusal};
use crate::session::message::{ClaimTicket, SessionMessage};
use crate::wire::{Reason, Refusal};

/// Maximum number of claims that a session may have under way; no game opens more than a few rooms at once.
const CLAIMS_MAX: usize = 64;

impl Session {
    pub(crate) fn begin_claim(&mut self, code: Option<RoomCode>) -> Result<ClaimTicket, Refusal> {
        self.check_live()?;
        self.check_has_room_for(code)?;
        if self.claims == CLAIMS_MAX {
            let detail = format!("at most {CLAIMS_MAX} claims per session may be under way");
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

    /// Refuses a claim beyond the seat limit before anything is written. A claim in a room where the session sits only
    /// asks for its seat again, so it is allowed. The write itself counts the seats of all sessions of the user.
    fn check_has_room_for(&self, code: Option<RoomCode>) -> Result<(), Refusal> {
        let most = self.context.seats_max;
        let sits_there = || self.seats.iter().any(|seat| Some(seat.code) == code);
        match most == 0 || self.seats.len() < most || sits_there() {
            true => Ok(()),
            false => Err(refusal(&Refused::TooManySeats { most })),
        }
    }

    /// Returns a notice to this actor, and not to a successor: only this one counts the claim.
    fn claim_notice(&self) -> ClaimNotice {
        let me = self.me.clone();
        ClaimNotice::new(move || {
            // On an error the session has stopped, and counts no claims any more.
            let _ = me.cast(SessionMessage::ClaimEnded);
        })
    }

    /// Counts a claim as over, whether or not it succeeded.
    pub(crate) fn claim_ended(&mut self) {
        self.claims = self.claims.saturating_sub(1);
        self.advance();
        self.rest_if_idle();
    }
}

//! A guest who sits here has logged in: the seat is the user's from then on.

use ractor::ActorProcessingErr;
use tracing::info;

use super::news::{News, SeatNote};
use super::seating::{Occupant, Seating};
use super::session_change::SessionTold;
use super::state::Room;
use crate::id::SessionId;
use crate::wire::UserView;

impl Room {
    /// The session is another user's, durably, and its seat with it. Members hear it as the return of that user, and then
    /// that the user is away, if nobody is attached.
    pub(super) fn adopted(
        &mut self,
        session: SessionId,
        user: UserView,
        told: SessionTold,
    ) -> Result<(), ActorProcessingErr> {
        let is_told = self.hear_of_session(told)?;
        let Some((number, occupant)) = self.seating.hand_over(session, user) else {
            // It was read from the database since.
            return Ok(());
        };
        info!(room = %self.channel, seat = number, %session, "a guest has become an account");
        let team = self.kind.team(number);
        if !is_told {
            let note = SeatNote::new(number, team.clone(), &occupant);
            self.announce(&News::Back(note));
        }
        if let Some(end) = occupant.recorded {
            let note = SeatNote::new(number, team, &occupant).hold(end.since(self.now()));
            self.announce(&News::Away(note));
        }
        Ok(())
    }
}

impl Seating {
    /// The session is another user's. Gives its seat as it is then; None if that user has it already.
    pub(super) fn hand_over(
        &mut self,
        session: SessionId,
        user: UserView,
    ) -> Option<(u16, Occupant)> {
        let (number, occupant) = self.occupant_mut(session)?;
        if occupant.user.id == user.id {
            return None;
        }
        occupant.user = user;
        occupant.tokens = occupant.tokens.hand_over();
        Some((number, occupant.clone()))
    }
}

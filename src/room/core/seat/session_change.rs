//! Durable changes of a session, for the rooms in which it sits: it has ended, or belongs to another user.

use crate::id::{RoomId, SessionId};
use crate::persistence::SessionNews;
use crate::room::core::{Contradiction, Room};
use crate::room::rules::seats::{Occupant, Seats};
use crate::wire::{RoomEvent, UserView};
use tracing::info;

/// The state of the event of a session's change in a room's stream.
#[derive(Debug)]
pub enum SessionTold {
    /// The event is not published yet.
    Untold,
    /// The stream has this event, by the commit that changed the session.
    Told(SessionNews),
    /// The event may be in the stream or not.
    Unknown,
}

impl SessionTold {
    /// Takes the event that the commit of a session's change has put into a room's stream.
    pub fn take(news: &mut Vec<SessionNews>, room: RoomId) -> SessionTold {
        match news.iter().position(|news| news.room == room) {
            Some(at) => SessionTold::Told(news.swap_remove(at)),
            None => SessionTold::Untold,
        }
    }
}

/// A change of a session that sits in a room.
pub(in crate::room) enum RoomNews {
    Vacated {
        session: SessionId,
        told: SessionTold,
    },
    Adopted {
        session: SessionId,
        user: UserView,
        told: SessionTold,
    },
}

impl Room {
    pub(in crate::room) fn session_changed(&mut self, news: RoomNews) -> Result<(), Contradiction> {
        match news {
            RoomNews::Vacated { session, told } => self.vacated(session, told),
            RoomNews::Adopted {
                session,
                user,
                told,
            } => self.adopted(session, user, told),
        }
    }
}

impl Room {
    /// The session is another user's, durably, and its seat with it. Members hear it as the return of that user, and then
    /// that the user is away, if nobody is attached.
    pub(in crate::room) fn adopted(
        &mut self,
        session: SessionId,
        user: UserView,
        told: SessionTold,
    ) -> Result<(), Contradiction> {
        let is_told = self.hear_of_session(told)?;
        let Some((number, occupant)) = self.seating.hand_over(session, user) else {
            // It was read from the database since.
            return Ok(());
        };
        info!(room = %self.identity.channel, seat = number, %session, "a guest has become an account");
        if !is_told {
            let note = self.seat_body(number, &occupant);
            self.announce(&RoomEvent::Back(note));
        }
        if let Some(end) = occupant.recorded {
            let note = self
                .seat_body(number, &occupant)
                .hold(end.since(self.now()));
            self.announce(&RoomEvent::Away(note));
        }
        Ok(())
    }
}

impl Seats {
    /// The session is another user's. Gives its seat as it is then; None if that user has it already.
    pub(in crate::room) fn hand_over(
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

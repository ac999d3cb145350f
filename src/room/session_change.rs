//! Changes of a session as a whole, for the rooms in which it sits: it has ended, or is another user's.

use ractor::ActorProcessingErr;

use super::state::Room;
use crate::id::{RoomId, SessionId};
use crate::persistence::SessionNews;
use crate::wire::UserView;

/// What a room's stream tells of a session that has ended, or is another user's.
#[derive(Debug)]
pub enum SessionTold {
    /// Nothing yet.
    Untold,
    /// The room's stream has this, by the commit that changed the session.
    Told(SessionNews),
    /// It is not known whether the stream has it.
    Unknown,
}

impl SessionTold {
    /// Takes what the commit that changed a session has put into the stream of one of its rooms.
    pub fn take(news: &mut Vec<SessionNews>, room: RoomId) -> SessionTold {
        match news.iter().position(|news| news.room == room) {
            Some(at) => SessionTold::Told(news.swap_remove(at)),
            None => SessionTold::Untold,
        }
    }
}

/// What has become of a session that sits in a room.
pub(super) enum RoomNews {
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
    pub(super) async fn session_changed(
        &mut self,
        news: RoomNews,
    ) -> Result<(), ActorProcessingErr> {
        match news {
            RoomNews::Vacated { session, told } => self.vacated(session, told).await,
            RoomNews::Adopted {
                session,
                user,
                told,
            } => self.adopted(session, user, told),
        }
    }
}

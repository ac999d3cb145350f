//! The handle through which other actors reach the matchmaker.

use std::sync::Arc;

use super::message::MatchmakerMessage;
use super::state::Supply;
use crate::id::RoomCode;
use crate::mailbox::Unanswered;
use crate::supervisor::ActorAddress;

/// A handle to the matchmaker. Cheap to clone; stays valid across restarts.
#[derive(Debug, Clone)]
pub struct Matchmaker {
    pub(super) post: ActorAddress<MatchmakerMessage>,
}

impl Matchmaker {
    /// Creates a handle whose matchmaker has not started yet.
    pub fn vacant() -> Matchmaker {
        Matchmaker {
            post: ActorAddress::vacant(),
        }
    }

    /// Returns whether the matchmaker is running.
    pub fn is_here(&self) -> bool {
        self.post.is_running()
    }

    /// Reports a room's free seats. A room calls it whenever they change.
    pub fn supply(&self, code: RoomCode, supply: Supply) {
        self.post.tell(MatchmakerMessage::Supply { code, supply });
    }

    /// Withdraws a room that is closing or halted.
    pub fn gone(&self, code: RoomCode) {
        self.post.tell(MatchmakerMessage::Gone { code });
    }

    /// Makes the matchmaker fail.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.post.tell(MatchmakerMessage::Panic);
    }

    /// Returns the fullest room of a kind with a free seat, except those already tried.
    pub async fn fullest(
        &self,
        kind: Arc<str>,
        team: Option<String>,
        tried: Vec<RoomCode>,
    ) -> Result<Option<RoomCode>, Unanswered> {
        self.post
            .ask(|reply| MatchmakerMessage::Fullest {
                kind,
                team,
                tried,
                reply,
            })
            .await
    }
}

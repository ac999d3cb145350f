//! The way to the matchmaker.

use std::sync::Arc;

use super::message::MatchmakerMessage;
use super::state::Supply;
use crate::id::RoomCode;
use crate::mailbox::Unanswered;
use crate::supervisor::ActorAddress;

/// Cheap to clone; outlives restarts.
#[derive(Debug, Clone)]
pub struct Matchmaker {
    pub(super) post: ActorAddress<MatchmakerMessage>,
}

impl Matchmaker {
    /// A matchmaker that is not there yet, until it is started.
    pub fn vacant() -> Matchmaker {
        Matchmaker {
            post: ActorAddress::vacant(),
        }
    }

    /// Whether it is here and at work.
    pub fn is_here(&self) -> bool {
        self.post.is_running()
    }

    /// Told by a room whenever its free seats change.
    pub fn supply(&self, code: RoomCode, supply: Supply) {
        self.post.tell(MatchmakerMessage::Supply { code, supply });
    }

    /// Told by a room that closes or rests.
    pub fn gone(&self, code: RoomCode) {
        self.post.tell(MatchmakerMessage::Gone { code });
    }

    /// Has the matchmaker fail.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.post.tell(MatchmakerMessage::Panic);
    }

    /// The fullest room of a kind with a free seat, other than those tried.
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

//! Ending sessions at the request of the game's server, without their tokens.

use super::player::{Actions, unanswered};
use crate::id::{SessionId, UserId};
use crate::wire::{Reason, Refusal};

impl Actions {
    /// Ends a session with its tokens and seats in one commit, and then closes its connection. Returns true if the
    /// session was open until now; false if it had ended or does not exist.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn remove_session(&self, id: SessionId) -> Result<bool, Refusal> {
        let session = self.sessions.resolve(id).await.map_err(unanswered)?;
        let Some(session) = session else {
            return Ok(false);
        };
        match self.end_session(&session, None, None).await {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.reason == Reason::SessionEnded => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// Ends all sessions of a user with their tokens and seats in one commit, and then closes their connections.
    /// Returns how many were open.
    ///
    /// # Errors
    /// USER_NOT_FOUND, UNAVAILABLE: then all of them or none have ended, and a retry is safe.
    pub async fn remove_sessions_of(&self, user: &UserId) -> Result<usize, Refusal> {
        let known = self.persistence.user(user).await;
        if known.map_err(unanswered)?.is_none() {
            let detail = "there is no user with this id";
            return Err(Refusal::new(Reason::UserNotFound, detail));
        }
        self.sessions.end_all_of(user).await
    }
}

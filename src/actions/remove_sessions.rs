//! Ending sessions at the request of the game's server, without their tokens.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::player::{Actions, unanswered};
use crate::id::{SessionId, UserId};
use crate::wire::{Reason, Refusal};

/// Sessions of a user that are read per query. Most users have a few; a user without seats gets one per connect.
const PAGE: u32 = 256;

/// How many sessions of a user are ended at one time. They share their commits.
const ENDS_CONCURRENCY_MAX: usize = 64;

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

    /// Ends all sessions of a user, each as [`Actions::remove_session`] does. Returns how many were open.
    ///
    /// # Errors
    /// USER_NOT_FOUND, UNAVAILABLE: then some may have ended, and a retry ends the rest.
    pub async fn remove_sessions_of(&self, user: &UserId) -> Result<usize, Refusal> {
        let known = self.persistence.user(user).await;
        if known.map_err(|_| Refusal::unavailable())?.is_none() {
            let detail = "there is no user with this id";
            return Err(Refusal::new(Reason::UserNotFound, detail));
        }
        let mut ended = 0;
        loop {
            let page = self.persistence.open_sessions_of_user(user, PAGE).await;
            let page = page.map_err(|_| Refusal::unavailable())?;
            let ends = page.into_iter().map(|id| self.remove_session(id));
            let ends = stream::iter(ends).buffer_unordered(ENDS_CONCURRENCY_MAX);
            let were_open: Vec<bool> = ends.try_collect().await?;
            let of_page = were_open.into_iter().filter(|is_open| *is_open).count();
            if of_page == 0 {
                return Ok(ended);
            }
            ended += of_page;
        }
    }
}

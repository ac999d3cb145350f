//! Users who come by the game's own login: which of their sessions they are.

use std::sync::Arc;

use super::actions::{Actions, Caller, unanswered};
use super::handle::SessionHandle;
use crate::id::{SessionToken, UserId};
use crate::wire::{Reason, Refusal};

impl Actions {
    /// A user connects: to the session that sits somewhere, else to a new one.
    ///
    /// # Errors
    /// INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn open_login(
        &self,
        user: UserId,
        name: Option<Arc<str>>,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        match self.seated(&user).await? {
            Some(session) => Ok((session, None)),
            None => self.open_live_session(account(user, name)).await,
        }
    }

    /// A user asks over HTTP: as the session that sits somewhere or is connected, else as a new one.
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn log_in(&self, user: UserId, name: Option<Arc<str>>) -> Result<Caller, Refusal> {
        Ok(match self.present(&user).await? {
            Some(session) => Caller::Player(session),
            None => account(user, name),
        })
    }

    /// The session of a user that sits somewhere or is connected.
    ///
    /// # Errors
    /// SESSION_ENDED if there is none, UNAVAILABLE.
    pub async fn session_of(&self, user: &UserId) -> Result<SessionHandle, Refusal> {
        self.present(user).await?.ok_or_else(|| {
            let detail = "the user has no session that sits somewhere or is connected";
            Refusal::new(Reason::SessionEnded, detail)
        })
    }

    async fn present(&self, user: &UserId) -> Result<Option<SessionHandle>, Refusal> {
        for session in self.sessions.live_of_user(user) {
            if self.report(&session).await?.is_attached {
                return Ok(Some(session));
            }
        }
        self.seated(user).await
    }

    /// A session that holds a seat, or is about to. One that is live answers for itself, so that its
    /// player is back also while the database is away.
    async fn seated(&self, user: &UserId) -> Result<Option<SessionHandle>, Refusal> {
        self.wake_user(user).await.map_err(unanswered)?;
        for session in self.sessions.live_of_user(user) {
            let report = self.report(&session).await?;
            if report.is_claiming || !report.seats.is_empty() {
                return Ok(Some(session));
            }
        }
        let stored = self.persistence.seated_session_of_user(user).await;
        match stored.map_err(|_| Refusal::unavailable())? {
            Some(id) => self.sessions.resolve(id).await.map_err(unanswered),
            None => Ok(None),
        }
    }
}

/// A user who has logged in.
fn account(id: UserId, name: Option<Arc<str>>) -> Caller {
    Caller::Account {
        id,
        name,
        api_key: None,
    }
}

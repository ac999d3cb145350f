//! Users with a login of the game: the choice of their session.
//!
//! A session that holds a seat, or is about to, goes first. Over HTTP a connected one is next. Otherwise the user gets
//! a new session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::player::{Actions, Caller, unanswered};
use crate::clock::HubTime;
use crate::id::{SessionToken, UserId};
use crate::session::SessionHandle;
use crate::token::Claims;
use crate::wire::{Reason, Refusal};

/// Wait limit for the check if a user is active: shorter than the time that a client waits for its connect.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(2);

impl Actions {
    /// Returns the session for a user who connects: the one that holds a seat, else a new one with its token. Its login
    /// lasts `ttl` seconds, or has no end.
    ///
    /// # Errors
    /// INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn open_login(
        &self,
        user: UserId,
        name: Option<Arc<str>>,
        ttl: Option<u32>,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        let until = self.login_until(ttl);
        match self.seated(&user).await? {
            Some(session) => {
                self.check_active(&user).await?;
                session.logged_in(until);
                Ok((session, None))
            }
            None => self.open_live_session(account(user, name, until)).await,
        }
    }

    /// Returns the caller for a user's HTTP request: the session that holds a seat or is connected, else none yet.
    ///
    /// # Errors
    /// INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn log_in(
        &self,
        user: UserId,
        name: Option<Arc<str>>,
        ttl: Option<u32>,
    ) -> Result<Caller, Refusal> {
        let until = self.login_until(ttl);
        Ok(match self.present(&user).await? {
            Some(session) => {
                self.check_active(&user).await?;
                session.logged_in(until);
                Caller::Player(session)
            }
            None => account(user, name, until),
        })
    }

    /// Continues a session under a new login of its user, which lasts `ttl` seconds or has no end.
    pub fn renew_login(&self, session: &SessionHandle, ttl: Option<u32>) {
        session.logged_in(self.login_until(ttl));
    }

    /// Returns the seconds until a session's login ends; none if it has no end. At least 1, since clients read 0 as no
    /// end.
    pub fn login_ttl(&self, session: &SessionHandle) -> Option<u32> {
        let left = session.login_until()?.since(self.now());
        let seconds = left.as_millis().div_ceil(1_000).max(1);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    pub(super) fn login_until(&self, ttl: Option<u32>) -> Option<HubTime> {
        let ttl = Duration::from_secs(u64::from(ttl?));
        Some(self.now().plus(ttl))
    }

    /// Refuses the token of a session whose login has ended.
    pub(super) fn check_login(&self, session: &SessionHandle) -> Result<(), Refusal> {
        self.check_until(session.login_until())
    }

    fn check_until(&self, until: Option<HubTime>) -> Result<(), Refusal> {
        match until {
            Some(until) if until <= self.now() => {
                let detail = "the session's login has ended: log in again";
                Err(Refusal::new(Reason::TokenExpired, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a user who is not active. While the database does not answer, present players may still reconnect; each
    /// change of theirs is checked in its write.
    ///
    /// # Errors
    /// INVALID_USER_REFERENCE.
    pub async fn check_active(&self, user: &UserId) -> Result<(), Refusal> {
        if !self.persistence.writing().is_committing {
            return Ok(());
        }
        match timeout(ACTIVE_TIMEOUT, self.persistence.is_active(user)).await {
            Ok(Ok(false)) => {
                let detail = "the user does not exist or is not active";
                Err(Refusal::new(Reason::InvalidUserReference, detail))
            }
            Ok(Ok(true) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Returns the end of the login under which a seat token was signed. A session that redeems the token has the same
    /// end.
    ///
    /// # Errors
    /// TOKEN_EXPIRED, UNAVAILABLE.
    pub(super) async fn login_of_seat(&self, claims: &Claims) -> Result<Option<HubTime>, Refusal> {
        let until = match self.sessions.live_by_id(claims.session) {
            Some(session) => session.login_until(),
            None => {
                let stored = self.persistence.session_by_id(claims.session).await;
                let stored = stored.map_err(unanswered)?;
                stored.and_then(|stored| stored.login_until)
            }
        };
        self.check_until(until)?;
        Ok(until)
    }

    /// Returns the session of a user that holds a seat or is connected.
    ///
    /// # Errors
    /// SESSION_ENDED if there is none, INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn session_of(&self, user: &UserId) -> Result<SessionHandle, Refusal> {
        let session = self.present(user).await?.ok_or_else(|| {
            let detail = "the user has no session that holds a seat or is connected";
            Refusal::new(Reason::SessionEnded, detail)
        })?;
        self.check_active(user).await?;
        Ok(session)
    }

    /// Returns the session that holds a seat, else one that is only connected, such as a second tab's.
    async fn present(&self, user: &UserId) -> Result<Option<SessionHandle>, Refusal> {
        let mut attached = None;
        for session in self.sessions.live_of_user(user) {
            let report = self.report(&session).await?;
            if report.is_claiming || !report.seats.is_empty() {
                return Ok(Some(session));
            }
            if report.is_attached {
                attached.get_or_insert(session);
            }
        }
        match attached {
            Some(session) => Ok(Some(session)),
            None => self.seated(user).await,
        }
    }

    /// Returns a session that holds a seat, or is about to. A live session is asked first, so that its player can
    /// reconnect also while the database does not answer.
    async fn seated(&self, user: &UserId) -> Result<Option<SessionHandle>, Refusal> {
        self.sessions.wake_user(user).await.map_err(unanswered)?;
        for session in self.sessions.live_of_user(user) {
            let report = self.report(&session).await?;
            if report.is_claiming || !report.seats.is_empty() {
                return Ok(Some(session));
            }
        }
        let stored = self.persistence.seated_session_of_user(user).await;
        match stored.map_err(unanswered)? {
            Some(id) => self.sessions.resolve(id).await.map_err(unanswered),
            None => Ok(None),
        }
    }
}

/// Returns the caller for a user who has logged in and has no session yet.
fn account(id: UserId, name: Option<Arc<str>>, until: Option<HubTime>) -> Caller {
    Caller::Account {
        id,
        name,
        api_key: None,
        until,
    }
}

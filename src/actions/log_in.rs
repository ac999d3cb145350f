//! Users who come by the game's own login: which of their sessions they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::player::{Actions, Caller, unanswered};
use crate::clock::HubTime;
use crate::id::{SessionToken, UserId};
use crate::session::SessionHandle;
use crate::token::Claims;
use crate::wire::{Reason, Refusal};

/// The longest wait to learn whether a user is active: less than a client waits for its connect.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(2);

impl Actions {
    /// A user connects: to the session that sits somewhere, else to a new one. Either is let in for `ttl` seconds,
    /// or without end.
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

    /// A user asks over HTTP: as the session that sits somewhere or is connected, else as a new one.
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

    /// A session goes on under a new login of its user, for so many seconds or without end.
    pub fn renew_login(&self, session: &SessionHandle, ttl: Option<u32>) {
        session.logged_in(self.login_until(ttl));
    }

    /// The seconds for which a session's login still lets it in; none where it has no end. At least one: a client
    /// takes 0 for no end.
    pub fn login_ttl(&self, session: &SessionHandle) -> Option<u32> {
        let left = session.login_until()?.since(self.now());
        let seconds = left.as_millis().div_ceil(1_000).max(1);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    pub(super) fn login_until(&self, ttl: Option<u32>) -> Option<HubTime> {
        let ttl = Duration::from_secs(u64::from(ttl?));
        Some(self.now().plus(ttl))
    }

    /// Refuses the token of a session whose login is over.
    pub(super) fn check_login(&self, session: &SessionHandle) -> Result<(), Refusal> {
        self.check_until(session.login_until())
    }

    fn check_until(&self, until: Option<HubTime>) -> Result<(), Refusal> {
        match until {
            Some(until) if until <= self.now() => {
                let detail = "the login that let this session in is over: log in again";
                Err(Refusal::new(Reason::TokenExpired, detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a user who is not active. While the database cannot be asked, players who are here already may come
    /// back all the same; whatever they change is checked in its write.
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

    /// The end of the login under which a seat token was signed: a session that comes by it is let in no longer.
    ///
    /// # Errors
    /// TOKEN_EXPIRED, UNAVAILABLE.
    pub(super) async fn login_of_seat(&self, claims: &Claims) -> Result<Option<HubTime>, Refusal> {
        let until = match self.sessions.live_by_id(claims.session) {
            Some(session) => session.login_until(),
            None => {
                let stored = self.persistence.session_by_id(claims.session).await;
                let stored = stored.map_err(|_| Refusal::unavailable())?;
                stored.and_then(|stored| stored.login_until)
            }
        };
        self.check_until(until)?;
        Ok(until)
    }

    /// The session of a user that sits somewhere or is connected.
    ///
    /// # Errors
    /// SESSION_ENDED if there is none, INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn session_of(&self, user: &UserId) -> Result<SessionHandle, Refusal> {
        let session = self.present(user).await?.ok_or_else(|| {
            let detail = "the user has no session that sits somewhere or is connected";
            Refusal::new(Reason::SessionEnded, detail)
        })?;
        self.check_active(user).await?;
        Ok(session)
    }

    /// The session that sits somewhere goes before one that is only connected, as a second tab's is.
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

    /// A session that holds a seat, or is about to. One that is live answers for itself, so that its
    /// player is back also while the database is away.
    async fn seated(&self, user: &UserId) -> Result<Option<SessionHandle>, Refusal> {
        self.sessions.wake_user(user).await.map_err(unanswered)?;
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
fn account(id: UserId, name: Option<Arc<str>>, until: Option<HubTime>) -> Caller {
    Caller::Account {
        id,
        name,
        api_key: None,
        until,
    }
}

//! Guests who log in: a request that carries both a session token and a login.
//!
//! A guest's session is adopted by the user, with its seats and scores, and gets a new token. The user's own session
//! only gets the new login. If the session is over, the login alone counts.

use std::sync::Arc;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, Found, unanswered};
use crate::id::{CommandKey, SessionToken, UserId};
use crate::persistence::{Retries, UserWrite};
use crate::session::{Adoption, SessionHandle};
use crate::wire::{Reason, Refusal, SessionReport, UserView};

/// A user who has logged in.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    pub user: UserId,
    pub name: Option<Arc<str>>,
    /// The seconds until the login ends; none if it has no end.
    pub ttl: Option<u32>,
}

/// The session whose token came with a login, compared with the user of the login.
enum Shown {
    /// The session of another user: adopted if that is a guest, else refused.
    Others(SessionHandle),
    /// The session of the user who has logged in.
    Own(SessionHandle),
    /// The session or its token has ended: perhaps the user already has the guest's session, and the response was lost.
    Over,
}

impl Actions {
    /// Finds or opens the session for a client that connects with a session token and a login. A guest's session
    /// becomes the user's, with its seats and scores. The same commit ends all tokens of the guest; the new one is
    /// returned.
    ///
    /// # Errors
    /// PERMISSION_DENIED if the session is another account's, ALREADY_SEATED if the user sits in one of its rooms,
    /// TOO_MANY_SEATS, INVALID_USER_REFERENCE, UNAVAILABLE. Then nothing has changed.
    pub async fn open_guest_login(
        &self,
        token: &SessionToken,
        login: LoggedIn,
        retries: Retries<'_>,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        match self.shown(token, &login.user, retries).await? {
            Shown::Others(session) => {
                let (session, token) = self.adopt(&session, login, None).await?;
                Ok((session, Some(token)))
            }
            Shown::Own(session) => {
                self.check_active(&login.user).await?;
                self.renew_login(&session, login.ttl);
                Ok((session, None))
            }
            Shown::Over => self.open_login(login.user, login.name, login.ttl).await,
        }
    }

    /// Does the same as [`Actions::open_guest_login`] for an HTTP request.
    ///
    /// # Errors
    /// Those of [`Actions::open_guest_login`], KEY_REUSED and RATE_LIMITED.
    pub async fn open_session_of_guest(
        &self,
        token: &SessionToken,
        login: LoggedIn,
        key: Option<CommandKey>,
        retries: Retries<'_>,
    ) -> Result<SessionReport, Refusal> {
        let keyed = key.map(|key| IdempotentRequest::with_login(&login.user, token, &key));
        self.once(keyed, async |keyed| {
            match self.shown(token, &login.user, retries).await? {
                Shown::Others(session) => {
                    self.count_change(Some(&session))?;
                    let (session, token) = self.adopt(&session, login, keyed).await?;
                    let mut report = self.session(&session).await?;
                    report.session.token = Some(token);
                    Ok(report)
                }
                Shown::Own(session) => {
                    self.check_active(&login.user).await?;
                    self.renew_login(&session, login.ttl);
                    self.keep(keyed, self.session(&session).await?).await
                }
                Shown::Over => {
                    let caller = self.log_in(login.user, login.name, login.ttl).await?;
                    self.report_or_open(caller, keyed).await
                }
            }
        })
        .await
    }

    async fn shown(
        &self,
        token: &SessionToken,
        user: &UserId,
        retries: Retries<'_>,
    ) -> Result<Shown, Refusal> {
        match self.find(token, retries).await {
            Ok(Found::Session(session)) if session.user().id == *user => Ok(Shown::Own(session)),
            Ok(Found::Session(session)) => Ok(Shown::Others(session)),
            Ok(Found::Ended(_)) => Ok(Shown::Over),
            Err(refusal) if refusal.reason == Reason::TokenInvalid => Ok(Shown::Over),
            Err(refusal) => Err(refusal),
        }
    }

    /// Makes a guest's session the user's. Returns the successor of the session, with its only token.
    async fn adopt(
        &self,
        guest: &SessionHandle,
        login: LoggedIn,
        keyed: Option<IdempotentRequest>,
    ) -> Result<(SessionHandle, SessionToken), Refusal> {
        self.check_open()?;
        let login_until = self.login_until(login.ttl);
        let (expires_at, token_until) = self.life(login_until);
        let token = SessionToken::random();
        let user = UserView {
            id: login.user.clone(),
            // Provisional: the commit returns the stored name.
            name: login
                .name
                .clone()
                .unwrap_or_else(|| login.user.as_str().into()),
        };
        let once = match keyed {
            None => None,
            Some(keyed) => {
                let mut report = self.session(guest).await?;
                report.user = user.clone();
                report.session.token = Some(token.clone());
                report.session.expires_at = token_until;
                Some(keyed.answered(&report))
            }
        };
        let adoption = Adoption {
            user,
            user_write: self.user_write(login.user, login.name),
            token: token.clone(),
            expires_at,
            login_until,
            once,
        };
        let seed = self
            .sessions
            .ask(guest, |session| {
                let adoption = adoption.clone();
                async move { session.adopt(adoption).await }
            })
            .await
            .map_err(unanswered)??;
        let session = self.sessions.start(*seed).await.map_err(unanswered)?;
        // A room may have sent a seat event while no actor of the session was live.
        session.catch_up();
        Ok((session, token))
    }

    /// Returns the write for a user of the game, who is created when missing if the configuration allows it.
    pub(super) fn user_write(&self, id: UserId, name: Option<Arc<str>>) -> UserWrite {
        match self.sessions.creates_users() {
            true => UserWrite::Account { id, name },
            false => UserWrite::Known(id),
        }
    }
}

//! The session that an action creates for a caller who has none. It is written first, and only then started from the
//! same values.

use std::sync::Arc;

use tracing::debug;

use super::idempotency::IdempotentRequest;
use super::player::{Actions, Caller};
use crate::clock::{HubTime, WallTime};
use crate::id::{SessionId, SessionToken, UserId};
use crate::persistence::{
    Committed, NewSession, OpenSession, SessionCommand, UserWrite, Write, WriteError,
};
use crate::room::{HeldSeat, refusal};
use crate::session::{SessionHandle, SessionSeed, token_until};
use crate::wire::{KeyedResponse, Refusal, SessionReport, SessionView, UserView};

/// A session that an action creates, with its only token.
pub(super) struct NewSessionDraft {
    pub(super) id: SessionId,
    pub(super) token: SessionToken,
    pub(super) expires_at: HubTime,
    pub(super) login_until: Option<HubTime>,
    /// The end of its token, as the client receives it.
    token_until: WallTime,
    pub(super) user: UserView,
    pub(super) user_write: UserWrite,
}

impl Actions {
    /// Returns a new session for a caller who has none; else the caller's own, as the error.
    pub(super) fn fresh(&self, caller: Caller) -> Result<NewSessionDraft, SessionHandle> {
        let (user, user_write, login_until) = match caller {
            Caller::Session(session) | Caller::Player(session) => return Err(session),
            Caller::Guest { name } => {
                let id = UserId::guest();
                let user = UserView {
                    id: id.clone(),
                    name: Arc::clone(&name),
                };
                (user, UserWrite::Guest { id, name }, None)
            }
            Caller::Account {
                id,
                name,
                until,
                api_key: _,
            } => {
                let user = UserView {
                    id: id.clone(),
                    // Provisional: the commit returns the stored name.
                    name: name.clone().unwrap_or_else(|| id.as_str().into()),
                };
                (user, self.user_write(id, name), until)
            }
        };
        let (expires_at, token_until) = self.life(login_until);
        Ok(NewSessionDraft {
            id: SessionId::new(),
            token: SessionToken::random(),
            expires_at,
            login_until,
            token_until,
            user,
            user_write,
        })
    }
}

impl Actions {
    /// Returns the end of a session that begins now, by the hub's clock, and the end of its token, by the wall clock.
    pub(super) fn life(&self, login_until: Option<HubTime>) -> (HubTime, WallTime) {
        let clock = self.sessions.clock();
        let expires_at = clock.now().plus(self.sessions.ttl());
        let until = token_until(expires_at, login_until);
        (expires_at, clock.on_wall(until))
    }

    pub(super) async fn report_or_open(
        &self,
        caller: Caller,
        keyed: Option<IdempotentRequest>,
    ) -> Result<SessionReport, Refusal> {
        match self.fresh(caller) {
            Ok(fresh) => {
                self.count_newcomer()?;
                self.write_session(&fresh, fresh.report(), keyed).await
            }
            Err(session) => {
                let report = self.session(&session).await?;
                self.keep(keyed, report).await
            }
        }
    }

    /// Writes a session that has no seat. Stores `answer` under the key, and returns it with the user's stored name.
    pub(super) async fn write_session<A: KeyedResponse>(
        &self,
        fresh: &NewSessionDraft,
        mut answer: A,
        keyed: Option<IdempotentRequest>,
    ) -> Result<A, Refusal> {
        self.check_open()?;
        let command = SessionCommand::Open(OpenSession {
            user: fresh.user_write.clone(),
            session: fresh.row(),
        });
        let once = keyed.map(|keyed| keyed.answered(&answer));
        match self.persistence.write(Write::once(command, once)).await {
            Ok(Committed::Player { name, .. }) => {
                answer.rename_user(&name);
                Ok(answer)
            }
            Ok(
                Committed::Done
                | Committed::Published { .. }
                | Committed::Told { .. }
                | Committed::Ended(_)
                | Committed::AllEnded(_)
                | Committed::Adopted { .. }
                | Committed::Swept(_),
            )
            | Err(WriteError::Lost) => Err(Refusal::unavailable()),
            Err(WriteError::Refused(refused)) => {
                debug!(%refused, "not committed");
                Err(refusal(&refused))
            }
        }
    }

    /// Returns a new session for a user who takes a seat over, under the login of the seat's session.
    pub(super) fn fresh_of(&self, user: UserId, login_until: Option<HubTime>) -> NewSessionDraft {
        let (expires_at, token_until) = self.life(login_until);
        NewSessionDraft {
            id: SessionId::new(),
            token: SessionToken::random(),
            expires_at,
            login_until,
            token_until,
            user: UserView {
                id: user.clone(),
                // Provisional: the room answers with the stored name.
                name: user.as_str().into(),
            },
            user_write: UserWrite::Known(user),
        }
    }
}

impl NewSessionDraft {
    pub(super) fn row(&self) -> NewSession {
        NewSession {
            id: self.id,
            token: Some(self.token.hash()),
            expires_at: self.expires_at,
            login_until: self.login_until,
        }
    }

    pub(super) fn seed(&self, user: UserView, seats: Vec<HeldSeat>) -> SessionSeed {
        SessionSeed {
            id: self.id,
            user,
            tokens: vec![self.token.hash()],
            expires_at: self.expires_at,
            login_until: self.login_until,
            seats,
            is_rebuilt: false,
        }
    }

    /// Returns the report of the session, which has no seat yet.
    pub(super) fn report(&self) -> SessionReport {
        SessionReport {
            session: self.view(),
            user: self.user.clone(),
            seats: Vec::new(),
        }
    }

    pub(super) fn view(&self) -> SessionView {
        SessionView {
            id: self.id,
            token: Some(self.token.clone()),
            expires_at: self.token_until,
        }
    }
}

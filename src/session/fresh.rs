//! The session that an action makes for a caller who has none.

use std::sync::Arc;

use super::actions::{Actions, Caller, SessionReport};
use super::brood::SessionSeed;
use super::handle::SessionHandle;
use crate::clock::{HubTime, WallTime};
use crate::id::{SessionId, SessionToken, UserId};
use crate::persistence::{NewSession, UserWrite};
use crate::room::Holding;
use crate::wire::{SessionView, UserView};

/// A session that an action makes, with its only token.
pub(super) struct Fresh {
    pub(super) id: SessionId,
    pub(super) token: SessionToken,
    pub(super) expires_at: HubTime,
    /// The same as the client is told.
    told: WallTime,
    pub(super) user: UserView,
    pub(super) user_write: UserWrite,
}

impl Actions {
    /// The session that an action makes for a caller who has none; else the caller's own.
    pub(super) fn fresh(&self, caller: Caller) -> Result<Fresh, SessionHandle> {
        let (user, user_write) = match caller {
            Caller::Session(session) | Caller::Player(session) => return Err(session),
            Caller::Guest { name } => {
                let id = UserId::guest();
                let user = UserView {
                    id: id.clone(),
                    name: Arc::clone(&name),
                };
                (user, UserWrite::Guest { id, name })
            }
            Caller::Account { id, name, .. } => {
                let user = UserView {
                    id: id.clone(),
                    // Until the commit tells the stored one.
                    name: name.clone().unwrap_or_else(|| id.as_str().into()),
                };
                let write = if self.sessions.context().creates_users {
                    UserWrite::Account { id, name }
                } else {
                    UserWrite::Known(id)
                };
                (user, write)
            }
        };
        let (expires_at, told) = self.life();
        Ok(Fresh {
            id: SessionId::new(),
            token: SessionToken::random(),
            expires_at,
            told,
            user,
            user_write,
        })
    }
}

impl Actions {
    /// When a session that begins now ends, by the hub's clock and by the wall's.
    fn life(&self) -> (HubTime, WallTime) {
        let context = self.sessions.context();
        let expires_at = context.clock.now().plus(context.ttl);
        (expires_at, context.clock.on_wall(expires_at))
    }

    /// The session with which a user comes back to a seat.
    pub(super) fn fresh_of(&self, user: UserId) -> Fresh {
        let (expires_at, told) = self.life();
        Fresh {
            id: SessionId::new(),
            token: SessionToken::random(),
            expires_at,
            told,
            user: UserView {
                id: user.clone(),
                // Until the commit tells the stored one.
                name: user.as_str().into(),
            },
            user_write: UserWrite::Known(user),
        }
    }
}

impl Fresh {
    pub(super) fn row(&self) -> NewSession {
        NewSession {
            id: self.id,
            token: Some(self.token.hash()),
            expires_at: self.expires_at,
        }
    }

    pub(super) fn seed(&self, user: UserView, seats: Vec<Holding>) -> SessionSeed {
        SessionSeed {
            id: self.id,
            user,
            tokens: vec![self.token.hash()],
            expires_at: self.expires_at,
            seats,
            is_rebuilt: false,
        }
    }

    /// A session that has no seat yet.
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
            expires_at: self.told,
        }
    }
}

//! The user and the session that a command acts for: known ones, or new ones that it creates.

use std::sync::Arc;

use crate::clock::HubTime;
use crate::id::{SessionId, TokenHash, UserId};

/// The user a command acts for.
#[derive(Debug, Clone)]
pub enum UserWrite {
    /// Must exist and be active.
    Known(UserId),
    /// A guest created by this command.
    Guest { id: UserId, name: Arc<str> },
    /// The game's own user: created if missing, otherwise it must be active. A given name replaces the stored one.
    Account { id: UserId, name: Option<Arc<str>> },
}

impl UserWrite {
    pub(in crate::persistence) fn id(&self) -> &UserId {
        match self {
            UserWrite::Known(id) | UserWrite::Guest { id, .. } | UserWrite::Account { id, .. } => {
                id
            }
        }
    }
}

#[derive(Debug, Clone)]
pub enum SessionWrite {
    Known(SessionId),
    New(NewSession),
}

#[derive(Debug, Clone)]
pub struct NewSession {
    pub id: SessionId,
    /// None for a session that no client connects to with a token.
    pub token: Option<TokenHash>,
    pub expires_at: HubTime,
    /// None without a login, or with a login that does not end.
    pub login_until: Option<HubTime>,
}

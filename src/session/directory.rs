//! Which sessions are live on this node.

use dashmap::DashMap;

use super::handle::SessionHandle;
use crate::id::{SessionId, TokenHash, UserId};
use crate::supervisor::{Listed, shard_of};

/// Found by id, by the hash of a token, and by user. Entries are made and taken out by the shards
/// alone.
#[derive(Debug)]
pub(super) struct SessionDirectory {
    by_id: DashMap<SessionId, SessionHandle>,
    by_token: DashMap<TokenHash, SessionHandle>,
    /// The session that became live last.
    by_user: DashMap<UserId, SessionHandle>,
    ids: Listed,
    tokens: Listed,
    users: Listed,
}

impl Default for SessionDirectory {
    fn default() -> SessionDirectory {
        SessionDirectory {
            by_id: DashMap::new(),
            by_token: DashMap::new(),
            by_user: DashMap::new(),
            ids: Listed::new("session"),
            tokens: Listed::new("token"),
            users: Listed::new("user"),
        }
    }
}

impl SessionDirectory {
    pub(super) fn get(&self, id: SessionId) -> Option<SessionHandle> {
        self.by_id.get(&id).map(|entry| entry.value().clone())
    }

    pub(super) fn by_token(&self, hash: TokenHash) -> Option<SessionHandle> {
        self.by_token.get(&hash).map(|entry| entry.value().clone())
    }

    pub(super) fn by_user(&self, user: &UserId) -> Option<SessionHandle> {
        self.by_user.get(user).map(|entry| entry.value().clone())
    }

    pub(super) fn enter(&self, handle: &SessionHandle) {
        for token in handle.tokens() {
            let before = self.by_token.insert(*token, handle.clone());
            self.tokens.entered(before);
        }
        let user = handle.user().id.clone();
        self.users
            .entered(self.by_user.insert(user, handle.clone()));
        self.ids
            .entered(self.by_id.insert(handle.id(), handle.clone()));
    }

    pub(super) fn leave(&self, id: SessionId) {
        let Some((_, handle)) = self.by_id.remove(&id) else {
            return;
        };
        self.ids.left(Some(()));
        for token in handle.tokens() {
            self.tokens.left(self.by_token.remove(token));
        }
        let left = self
            .by_user
            .remove_if(&handle.user().id, |_, live| live.id() == id);
        self.users.left(left);
    }

    /// Empties the share of one shard, and tells what was in it.
    pub(super) fn leave_all(&self, shard: usize) -> Vec<SessionId> {
        let ids: Vec<_> = self
            .by_id
            .iter()
            .map(|entry| *entry.key())
            .filter(|id| shard_of(id) == shard)
            .collect();
        for id in &ids {
            self.leave(*id);
        }
        ids
    }
}

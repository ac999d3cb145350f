//! Which sessions are live on this node.

use dashmap::DashMap;

use super::handle::SessionHandle;
use crate::id::{SessionId, TokenHash, UserId};
use crate::supervisor::shard_of;

/// Found by id, by the hash of a token, and by user. Entries are made and taken out by the shards
/// alone.
#[derive(Debug, Default)]
pub(super) struct SessionDirectory {
    by_id: DashMap<SessionId, SessionHandle>,
    by_token: DashMap<TokenHash, SessionHandle>,
    /// The session that became live last.
    by_user: DashMap<UserId, SessionHandle>,
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
            self.by_token.insert(*token, handle.clone());
        }
        self.by_user
            .insert(handle.user().id.clone(), handle.clone());
        self.by_id.insert(handle.id(), handle.clone());
    }

    pub(super) fn leave(&self, id: SessionId) {
        let Some((_, handle)) = self.by_id.remove(&id) else {
            return;
        };
        for token in handle.tokens() {
            self.by_token.remove(token);
        }
        self.by_user
            .remove_if(&handle.user().id, |_, live| live.id() == id);
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

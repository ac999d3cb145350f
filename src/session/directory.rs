//! The directory of the sessions that are live on this node.

use dashmap::DashMap;

use super::handle::SessionHandle;
use crate::id::{SessionId, TokenHash, UserId};
use crate::supervisor::{EntryGauge, shard_of};

/// The live sessions by id, by the hash of a token, and by user. Only the shards add and remove entries.
#[derive(Debug)]
pub(super) struct SessionDirectory {
    by_id: DashMap<SessionId, SessionHandle>,
    by_token: DashMap<TokenHash, SessionHandle>,
    /// In the order in which they became live. A user without a live session has no entry.
    by_user: DashMap<UserId, Vec<SessionHandle>>,
    ids: EntryGauge,
    tokens: EntryGauge,
    users: EntryGauge,
}

impl Default for SessionDirectory {
    fn default() -> SessionDirectory {
        SessionDirectory {
            by_id: DashMap::new(),
            by_token: DashMap::new(),
            by_user: DashMap::new(),
            ids: EntryGauge::new("session"),
            tokens: EntryGauge::new("token"),
            users: EntryGauge::new("user"),
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

    /// Returns the sessions of a user, last started first.
    pub(super) fn of_user(&self, user: &UserId) -> Vec<SessionHandle> {
        let sessions = self.by_user.get(user);
        sessions.map_or_else(Vec::new, |entry| {
            entry.value().iter().rev().cloned().collect()
        })
    }

    pub(super) fn enter(&self, handle: &SessionHandle) {
        for token in handle.tokens() {
            let before = self.by_token.insert(*token, handle.clone());
            self.tokens.entered(before);
        }
        let mut is_new = false;
        {
            let user = handle.user().id.clone();
            let mut sessions = self.by_user.entry(user).or_insert_with(|| {
                is_new = true;
                Vec::with_capacity(1)
            });
            // A session that failed may still be listed when its successor enters.
            sessions.retain(|other| other.id() != handle.id());
            sessions.push(handle.clone());
        }
        if is_new {
            self.users.entered(None::<()>);
        }
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
        let user = &handle.user().id;
        if let Some(mut sessions) = self.by_user.get_mut(user) {
            sessions.retain(|other| other.id() != id);
        }
        // Another session of the user may have been entered since.
        let left = self.by_user.remove_if(user, |_, left| left.is_empty());
        self.users.left(left);
    }

    /// Removes all sessions of one shard, and returns their ids.
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

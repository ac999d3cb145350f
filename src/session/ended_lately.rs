//! The sessions that have ended in the last minute with all others of their user.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::id::SessionId;

/// Sessions that have ended with the others of their user. The row of one may have been read before, by a shard that
/// is about to start its actor.
#[derive(Debug, Default)]
pub(super) struct EndedLately(Mutex<HashSet<SessionId>>);

impl EndedLately {
    pub(super) fn has(&self, id: SessionId) -> bool {
        self.0.lock().contains(&id)
    }

    pub(super) fn add(&self, ids: &[SessionId]) {
        self.0.lock().extend(ids);
    }

    pub(super) fn forget(&self, ids: &[SessionId]) {
        let mut ended = self.0.lock();
        for id in ids {
            ended.remove(id);
        }
        ended.shrink_to_fit();
    }
}

//! Which connections are open on this node.

use dashmap::DashMap;

use crate::delivery::Outbound;
use crate::id::ConnectionId;

/// The way out to each client.
#[derive(Debug, Default)]
pub(super) struct ConnectionDirectory {
    open: DashMap<ConnectionId, Outbound>,
}

impl ConnectionDirectory {
    pub(super) fn enter(&self, id: ConnectionId, outbound: Outbound) {
        self.open.insert(id, outbound);
    }

    pub(super) fn leave(&self, id: ConnectionId) {
        self.open.remove(&id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn all(&self) -> Vec<Outbound> {
        self.open
            .iter()
            .map(|entry| entry.value().clone())
            .collect()
    }
}

//! Which connections are open on this node.

use dashmap::DashMap;
use ractor::ActorRef;

use super::message::ConnectionMessage;
use crate::delivery::Outbound;
use crate::id::ConnectionId;
use crate::supervisor::Listed;

/// The way out to each client, and the actor that serves it.
#[derive(Debug)]
pub(super) struct ConnectionDirectory {
    open: DashMap<ConnectionId, (Outbound, ActorRef<ConnectionMessage>)>,
    listed: Listed,
}

impl Default for ConnectionDirectory {
    fn default() -> ConnectionDirectory {
        ConnectionDirectory {
            open: DashMap::new(),
            listed: Listed::new("connection"),
        }
    }
}

impl ConnectionDirectory {
    pub(super) fn enter(
        &self,
        id: ConnectionId,
        outbound: Outbound,
        actor: ActorRef<ConnectionMessage>,
    ) {
        self.listed.entered(self.open.insert(id, (outbound, actor)));
    }

    pub(super) fn leave(&self, id: ConnectionId) {
        self.listed.left(self.open.remove(&id));
    }

    /// The actor of one connection.
    pub(super) fn actor(&self, id: ConnectionId) -> Option<ActorRef<ConnectionMessage>> {
        self.open.get(&id).map(|entry| entry.value().1.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn all(&self) -> Vec<Outbound> {
        self.open
            .iter()
            .map(|entry| entry.value().0.clone())
            .collect()
    }
}

//! The open connections of this node, by connection and by user.

use dashmap::DashMap;
use ractor::ActorRef;

use super::message::ConnectionMessage;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionId, UserId};
use crate::supervisor::EntryGauge;

/// The outgoing queue and the actor of each open connection.
#[derive(Debug)]
pub(super) struct ConnectionDirectory {
    open: DashMap<ConnectionId, Open>,
    /// Connections whose handshake has succeeded.
    by_user: DashMap<UserId, Vec<ConnectionId>>,
    listed: EntryGauge,
    users: EntryGauge,
}

/// An open connection.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) outbound: Outbound,
    actor: ActorRef<ConnectionMessage>,
    /// None before the handshake has succeeded.
    pub(super) owner: Option<Owner>,
}

/// The user and the session of a connection.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    user: UserId,
    pub(super) session: SessionId,
}

impl Default for ConnectionDirectory {
    fn default() -> ConnectionDirectory {
        ConnectionDirectory {
            open: DashMap::new(),
            by_user: DashMap::new(),
            listed: EntryGauge::new("connection"),
            users: EntryGauge::new("online"),
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
        let open = Open {
            outbound,
            actor,
            owner: None,
        };
        self.listed.entered(self.open.insert(id, open));
    }

    /// Records the owner of a connection. Only the connection's own actor calls this, and it also removes the entry.
    pub(super) fn connected(&self, id: ConnectionId, user: UserId, session: SessionId) {
        let mut is_new = false;
        self.by_user
            .entry(user.clone())
            .or_insert_with(|| {
                is_new = true;
                Vec::with_capacity(1)
            })
            .push(id);
        if is_new {
            self.users.entered(None::<()>);
        }
        if let Some(mut open) = self.open.get_mut(&id) {
            open.owner = Some(Owner { user, session });
        }
    }

    pub(super) fn leave(&self, id: ConnectionId) {
        let left = self.open.remove(&id);
        let owner = left.as_ref().and_then(|(_, open)| open.owner.as_ref());
        if let Some(Owner { user, .. }) = owner {
            if let Some(mut ids) = self.by_user.get_mut(user) {
                ids.retain(|other| *other != id);
            }
            // The same user may have connected again since.
            self.users
                .left(self.by_user.remove_if(user, |_, ids| ids.is_empty()));
        }
        self.listed.left(left);
    }

    /// Returns the actor of one connection.
    pub(super) fn actor(&self, id: ConnectionId) -> Option<ActorRef<ConnectionMessage>> {
        self.open.get(&id).map(|entry| entry.value().actor.clone())
    }

    /// Returns one connection.
    pub(super) fn get(&self, id: ConnectionId) -> Option<Open> {
        self.open.get(&id).map(|entry| entry.value().clone())
    }

    /// Returns the connections of a user.
    pub(super) fn of_user(&self, user: &UserId) -> Vec<ConnectionId> {
        let ids = self.by_user.get(user);
        ids.map_or_else(Vec::new, |entry| entry.value().clone())
    }

    /// Returns the connections of a session: the current one, and older ones that it is replacing.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<ConnectionId> {
        let is_of = |open: &Open| open.owner.as_ref().is_some_and(|o| o.session == session);
        let entries = self.open.iter().filter(|entry| is_of(entry.value()));
        entries.map(|entry| *entry.key()).collect()
    }

    /// Returns the number of connected clients, and of their users.
    pub(super) fn count(&self) -> (usize, usize) {
        let connections = self.by_user.iter().map(|entry| entry.value().len()).sum();
        (connections, self.by_user.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn all(&self) -> Vec<Outbound> {
        self.open
            .iter()
            .map(|entry| entry.value().outbound.clone())
            .collect()
    }
}

//! Which connections are open on this node, and whose they are.

use dashmap::DashMap;
use ractor::ActorRef;

use super::message::ConnectionMessage;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionId, UserId};
use crate::supervisor::EntryGauge;

/// The way out to each client, and the actor that serves it.
#[derive(Debug)]
pub(super) struct ConnectionDirectory {
    open: DashMap<ConnectionId, Open>,
    /// Those that have connected.
    by_user: DashMap<UserId, Vec<ConnectionId>>,
    listed: EntryGauge,
    users: EntryGauge,
}

/// An open connection.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) outbound: Outbound,
    actor: ActorRef<ConnectionMessage>,
    /// None before it has connected.
    pub(super) owner: Option<Owner>,
}

/// Whose connection it is.
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

    /// Says whose a connection is. Only its own actor may, which also takes it out.
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
            // Somebody of the same user may have come since.
            self.users
                .left(self.by_user.remove_if(user, |_, ids| ids.is_empty()));
        }
        self.listed.left(left);
    }

    /// The actor of one connection.
    pub(super) fn actor(&self, id: ConnectionId) -> Option<ActorRef<ConnectionMessage>> {
        self.open.get(&id).map(|entry| entry.value().actor.clone())
    }

    /// One connection.
    pub(super) fn get(&self, id: ConnectionId) -> Option<Open> {
        self.open.get(&id).map(|entry| entry.value().clone())
    }

    /// The connections of a user.
    pub(super) fn of_user(&self, user: &UserId) -> Vec<ConnectionId> {
        let ids = self.by_user.get(user);
        ids.map_or_else(Vec::new, |entry| entry.value().clone())
    }

    /// The connections of a session: one, and others that are being replaced by it.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<ConnectionId> {
        let is_of = |open: &Open| open.owner.as_ref().is_some_and(|o| o.session == session);
        let entries = self.open.iter().filter(|entry| is_of(entry.value()));
        entries.map(|entry| *entry.key()).collect()
    }

    /// How many connections have connected, and of how many users they are.
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

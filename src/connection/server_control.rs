//! What a game's server may order of connections.

use std::sync::Arc;

use ractor::ActorRef;
use serde_json::value::RawValue;

use super::Connections;
use super::message::ConnectionMessage;
use super::protocol::server_subscriptions::Wanted;
use crate::id::{ConnectionId, SessionId, UserId};
use crate::mailbox::ask;
use crate::room::Grant;
use crate::wire::{Close, ErrorCode, Failure, Position};

/// Whose connections a game's server means: those to which all that is given applies.
#[derive(Debug, Clone)]
pub enum ConnectionSelector {
    User(UserId),
    Connection(ConnectionId),
    Session(SessionId),
}

impl Connections {
    /// The open connections of all of these at once.
    pub fn of(&self, whom: &[ConnectionSelector]) -> Vec<ConnectionId> {
        let directory = &self.context.directory;
        let mut found: Option<Vec<ConnectionId>> = None;
        for one in whom {
            let ids = match one {
                ConnectionSelector::User(user) => directory.of_user(user),
                ConnectionSelector::Session(session) => directory.of_session(*session),
                ConnectionSelector::Connection(id) => {
                    let open = directory.get(*id);
                    let is_connected = open.is_some_and(|open| open.owner.is_some());
                    is_connected.then_some(*id).into_iter().collect()
                }
            };
            match &mut found {
                Some(found) => found.retain(|id| ids.contains(id)),
                None => found = Some(ids),
            }
        }
        found.unwrap_or_default()
    }

    /// How many connections there are, and of how many users.
    pub fn count(&self) -> (usize, usize) {
        self.context.directory.count()
    }

    /// Closes a connection, after what is queued for it.
    pub fn close(&self, id: ConnectionId, close: Close) {
        if let Some(open) = self.context.directory.get(id) {
            open.outbound.close(close);
        }
    }

    /// Has a connection last for so many seconds from now, or without end; it is told by a `refresh` push. Others
    /// see `info` of it from here on, if there is one.
    ///
    /// # Errors
    /// 100 if nobody answers.
    pub async fn refresh(
        &self,
        id: ConnectionId,
        ttl: Option<u32>,
        info: Option<Arc<RawValue>>,
    ) -> Result<(), Failure> {
        let Some(actor) = self.order(id) else {
            return Ok(());
        };
        let refreshed = ask(&actor, |reply| ConnectionMessage::Refresh {
            ttl,
            info,
            reply,
        });
        refreshed.await.map_err(|_| ErrorCode::Internal.into())
    }

    /// Has a client hear a channel; it is told by a `subscribe` push. A connection that has gone meanwhile is
    /// nothing to fail for.
    ///
    /// # Errors
    /// 102 for a channel of no kind, 105 if the client hears it already, 106 for more channels than it may
    /// have, 100 if nobody answers.
    pub async fn subscribe(
        &self,
        id: ConnectionId,
        channel: &str,
        grant: Grant,
        recover: Option<Position>,
    ) -> Result<(), Failure> {
        let Some(actor) = self.order(id) else {
            return Ok(());
        };
        let wanted = Wanted {
            channel: channel.to_owned(),
            grant,
        };
        let subscribed = ask(&actor, |reply| ConnectionMessage::Subscribe {
            wanted: Box::new(wanted),
            recover,
            reply,
        });
        subscribed.await.unwrap_or(Err(ErrorCode::Internal.into()))
    }

    /// Has a client hear a channel no more; it is told by an `unsubscribe` push if it did.
    ///
    /// # Errors
    /// 100 if nobody answers.
    pub async fn unsubscribe(&self, id: ConnectionId, channel: &str) -> Result<(), Failure> {
        let Some(actor) = self.order(id) else {
            return Ok(());
        };
        let channel = channel.to_owned();
        let unsubscribed = ask(&actor, |reply| ConnectionMessage::Unsubscribe {
            channel,
            reply,
        });
        unsubscribed.await.map_err(|_| ErrorCode::Internal.into())
    }

    fn order(&self, id: ConnectionId) -> Option<ActorRef<ConnectionMessage>> {
        self.context.directory.actor(id)
    }
}

//! Server API over connections: find, refresh, subscribe, unsubscribe and close them.

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

/// A selector of connections. Several selectors select the connections that match all of them.
#[derive(Debug, Clone)]
pub enum ConnectionSelector {
    User(UserId),
    Connection(ConnectionId),
    Session(SessionId),
}

impl Connections {
    /// Returns the open connections that match all selectors.
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

    /// Returns the number of connections, and of their users.
    pub fn count(&self) -> (usize, usize) {
        self.context.directory.count()
    }

    /// Closes a connection after its queued frames.
    pub fn close(&self, id: ConnectionId, close: Close) {
        if let Some(open) = self.context.directory.get(id) {
            open.outbound.close(close);
        }
    }

    /// Sets how many seconds a connection lasts from now; None is without end. The client receives a `refresh` push.
    /// If there is an `info`, others see it from now on.
    ///
    /// # Errors
    /// 100 if the connection does not answer.
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

    /// Subscribes a client to a channel; the client receives a `subscribe` push. A connection that has closed by then
    /// is no error.
    ///
    /// # Errors
    /// 102 for a channel of no kind, 105 if the client is already subscribed, 106 for more channels than it may have,
    /// 100 if the connection does not answer.
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

    /// Unsubscribes a client from a channel; the client receives an `unsubscribe` push if it was subscribed.
    ///
    /// # Errors
    /// 100 if the connection does not answer.
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

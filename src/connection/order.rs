//! What a game's server may order of connections.

use ractor::ActorRef;

use super::Connections;
use super::message::ConnectionMessage;
use super::server_side::Wanted;
use crate::id::ConnectionId;
use crate::mailbox::ask;
use crate::room::Grant;
use crate::wire::{ErrorCode, Failure, Position};

impl Connections {
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

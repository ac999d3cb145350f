//! The connection actor: dispatches each message to the method that handles it.

use std::future;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Context;
use super::message::ConnectionMessage;
use super::protocol::dispatch::Connection;
use crate::delivery::Outbound;
use crate::id::ConnectionId;
use crate::limits::Asker;
use crate::mailbox::answer;

#[derive(Debug)]
pub(super) struct ConnectionActor;

impl Actor for ConnectionActor {
    type Msg = ConnectionMessage;
    type State = Connection;
    type Arguments = (Arc<Context>, ConnectionId, Asker, Outbound);

    async fn pre_start(
        &self,
        me: ActorRef<ConnectionMessage>,
        (context, id, asker, outbound): (Arc<Context>, ConnectionId, Asker, Outbound),
    ) -> Result<Connection, ActorProcessingErr> {
        Ok(Connection::new(context, id, asker, outbound, me))
    }

    /// Boxes the future and its message: the actor library keeps two places for the future of `handle` for the whole
    /// life of the actor.
    fn handle(
        &self,
        _me: ActorRef<ConnectionMessage>,
        message: ConnectionMessage,
        connection: &mut Connection,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async {
            connection.hear(message).await;
            Ok(())
        })
    }

    /// Ignores the event: a connection supervises no actor.
    fn handle_supervisor_evt(
        &self,
        _me: ActorRef<ConnectionMessage>,
        _event: SupervisionEvent,
        _connection: &mut Connection,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        future::ready(Ok(()))
    }
}

impl Connection {
    /// Handles a message. Rare messages are boxed, so that a frame takes no more memory than it needs.
    async fn hear(&mut self, message: ConnectionMessage) {
        match message {
            ConnectionMessage::Frame { payload, reply } => answer(reply, self.serve(payload).await),
            ConnectionMessage::Subscribe {
                wanted,
                recover,
                reply,
            } => {
                let subscribed = Box::pin(self.subscribe_by_hub(*wanted, recover)).await;
                answer(reply, subscribed);
            }
            ConnectionMessage::Unsubscribe { channel, reply } => {
                Box::pin(self.unsubscribe_by_hub(&channel)).await;
                answer(reply, ());
            }
            ConnectionMessage::Refresh { ttl, info, reply } => {
                Box::pin(self.refresh_by_hub(ttl, info)).await;
                answer(reply, ());
            }
            ConnectionMessage::Wake => Box::pin(self.wake()).await,
            #[cfg(feature = "faults")]
            ConnectionMessage::Panic => panic!("ordered"),
        }
    }
}

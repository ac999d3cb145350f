//! Connects a socket's frames to what is done with them.

use std::net::IpAddr;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Context;
use super::message::ConnectionMessage;
use super::state::Connection;
use crate::delivery::Outbound;
use crate::id::ConnectionId;
use crate::mailbox::answer;

#[derive(Debug)]
pub(super) struct ConnectionActor;

impl Actor for ConnectionActor {
    type Msg = ConnectionMessage;
    type State = Connection;
    type Arguments = (Arc<Context>, ConnectionId, IpAddr, Outbound);

    async fn pre_start(
        &self,
        me: ActorRef<ConnectionMessage>,
        (context, id, address, outbound): (Arc<Context>, ConnectionId, IpAddr, Outbound),
    ) -> Result<Connection, ActorProcessingErr> {
        Ok(Connection::new(context, id, address, outbound, me))
    }

    async fn handle(
        &self,
        _me: ActorRef<ConnectionMessage>,
        message: ConnectionMessage,
        connection: &mut Connection,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ConnectionMessage::Frame { payload, reply } => {
                // In a box of its own while it lasts: the actor library keeps the future of `handle` for the
                // life of the actor, and all that a command may wait for is some 40 KB.
                let served = Box::pin(connection.serve(payload)).await;
                answer(reply, served);
            }
            ConnectionMessage::Subscribe {
                wanted,
                recover,
                reply,
            } => {
                let subscribed = Box::pin(connection.subscribe_by_hub(*wanted, recover)).await;
                answer(reply, subscribed);
            }
            ConnectionMessage::Unsubscribe { channel, reply } => {
                Box::pin(connection.unsubscribe_by_hub(&channel)).await;
                answer(reply, ());
            }
            ConnectionMessage::Refresh { ttl, reply } => {
                Box::pin(connection.refresh_by_hub(ttl)).await;
                answer(reply, ());
            }
            ConnectionMessage::Wake => Box::pin(connection.wake()).await,
            #[cfg(feature = "faults")]
            ConnectionMessage::Panic => panic!("ordered"),
        }
        Ok(())
    }

    /// A connection supervises nobody.
    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<ConnectionMessage>,
        _event: SupervisionEvent,
        _connection: &mut Connection,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

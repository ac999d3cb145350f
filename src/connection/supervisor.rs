//! The supervisor of a shard of the connections.
//!
//! A failed connection is not restarted. Its drop guards close the socket, and the client reconnects.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tracing::warn;

use crate::supervisor::LiveGauge;

#[derive(Debug)]
pub(super) struct ConnectionSupervisor;

/// The messages of a connection supervisor: none, except in tests.
#[derive(Debug)]
pub(super) enum SupervisorMessage {
    #[cfg(feature = "faults")]
    Panic,
}

impl Actor for ConnectionSupervisor {
    type Msg = SupervisorMessage;
    type State = LiveGauge;
    type Arguments = ();

    async fn pre_start(
        &self,
        _me: ActorRef<SupervisorMessage>,
        (): (),
    ) -> Result<LiveGauge, ActorProcessingErr> {
        Ok(LiveGauge::new("shard"))
    }

    async fn handle(
        &self,
        _me: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        _alive: &mut LiveGauge,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            #[cfg(feature = "faults")]
            SupervisorMessage::Panic => panic!("ordered"),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        _alive: &mut LiveGauge,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, reason) => {
                metrics::counter!("holdfast_actor_restarts_total", "kind" => "connection")
                    .increment(1);
                warn!(%reason, "connection failed, its client reconnects");
            }
            // Dropping the actor's state ends its subscriptions and its attachment.
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

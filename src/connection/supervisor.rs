//! The supervisor of a share of the connections.
//!
//! A connection that fails is not started again: what it held closes its socket, and the client
//! comes back by itself.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tracing::warn;

use crate::supervisor::LiveGauge;

#[derive(Debug)]
pub(super) struct ConnectionSupervisor;

/// What a supervisor of connections is told: nothing, but by testers.
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
                warn!(%reason, "connection failed, its client comes back");
            }
            // Dropping the state that comes with it is what ends subscriptions and attachment.
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

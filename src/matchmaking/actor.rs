//! Connects the matchmaker's mailbox to its rules.

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::handle::Matchmaker;
use super::message::MatchmakerMessage;
use super::state::Supplies;
use crate::mailbox::answer;

#[derive(Debug)]
struct MatchmakerActor;

impl Matchmaker {
    /// Starts the actor under the hub, in place of the previous one.
    pub async fn start(&self, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, MatchmakerActor, (), hub).await?;
        self.post.fill(actor.clone());
        Ok(actor.get_cell())
    }
}

impl Actor for MatchmakerActor {
    type Msg = MatchmakerMessage;
    type State = Supplies;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<MatchmakerMessage>,
        (): (),
    ) -> Result<Supplies, ActorProcessingErr> {
        Ok(Supplies::default())
    }

    async fn handle(
        &self,
        _myself: ActorRef<MatchmakerMessage>,
        message: MatchmakerMessage,
        supplies: &mut Supplies,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MatchmakerMessage::Supply { code, supply } => supplies.set(code, supply),
            MatchmakerMessage::Gone { code } => supplies.remove(code),
            MatchmakerMessage::Fullest {
                kind,
                team,
                tried,
                reply,
            } => answer(reply, supplies.fullest(&kind, team.as_deref(), &tried)),
            #[cfg(feature = "faults")]
            MatchmakerMessage::Panic => panic!("ordered"),
        }
        Ok(())
    }

    /// Ignores the event: the matchmaker supervises no actor.
    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<MatchmakerMessage>,
        _event: SupervisionEvent,
        _supplies: &mut Supplies,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

//! Connects a session's mailbox to its rules.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::brood::{SessionContext, SessionSeed};
use super::handle::Known;
use super::message::SessionMessage;
use super::state::{Ending, Phase, Session};
use crate::mailbox::answer;
use crate::room::Epoch;
use crate::supervisor::Alive;

#[derive(Debug)]
pub(super) struct SessionActor;

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = Session;
    type Arguments = (Arc<SessionContext>, Arc<Known>, SessionSeed);

    async fn pre_start(
        &self,
        me: ActorRef<SessionMessage>,
        (context, known, seed): (Arc<SessionContext>, Arc<Known>, SessionSeed),
    ) -> Result<Session, ActorProcessingErr> {
        let mut session = Session {
            expires_at: seed.expires_at,
            slides_at: None,
            seats: seed
                .seats
                .into_iter()
                .map(|seat| (seat.room, Box::new(seat)))
                .collect(),
            phase: Phase::Away,
            epoch: Epoch(0),
            claims: 0,
            waiting: None,
            arriving: None,
            ending: None,
            renew_at: None,
            _counted: context.metrics.live(),
            _alive: Alive::new("session"),
            context,
            known,
            me,
        };
        if seed.is_rebuilt {
            session.rebuilt();
        } else {
            session.ask_what_ends_soon();
        }
        if session.seats.is_empty() {
            session.rest_later().await;
        }
        Ok(session)
    }

    async fn handle(
        &self,
        _me: ActorRef<SessionMessage>,
        message: SessionMessage,
        session: &mut Session,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(session.phase, Phase::Retired) {
            // Dropping a reply port sends its asker to look the session up again.
            return Ok(());
        }
        match message {
            SessionMessage::Attach { outbound, reply } => session.attach(outbound, reply),
            SessionMessage::Detached { epoch } => session.detached(epoch),
            SessionMessage::BeginClaim { reply } => answer(reply, session.begin_claim()),
            SessionMessage::Seat(news) => session.hear(news),
            SessionMessage::Report { reply } => answer(reply, session.report()),
            SessionMessage::End {
                last_words,
                once,
                reply,
            } => session.end(Ending {
                last_words,
                once,
                reply,
            }),
            SessionMessage::EndSettled(result) => session.end_settled(result),
            SessionMessage::Found { room } => session.found(room),
            SessionMessage::Missing { room, epoch } => session.missing(room, epoch),
            SessionMessage::CatchUp => session.catch_up(),
            SessionMessage::Delayed { by } => session.delayed(by),
            SessionMessage::Wake => session.woken(),
            SessionMessage::Renew => session.renew(),
            SessionMessage::Retire => session.retire(),
            #[cfg(feature = "faults")]
            SessionMessage::Panic => panic!("ordered"),
        }
        session.renew_later().await;
        session.slide_later().await;
        Ok(())
    }

    /// A session supervises nobody.
    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SessionMessage>,
        _event: SupervisionEvent,
        _session: &mut Session,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

//! A session's actor: dispatches each message to the rules in the other files of this folder.
//!
//! A retired session passes seat events on to its shard, and drops every other message.

pub(crate) mod adoption;
mod claim;
mod ending;
pub(crate) mod login_end;
mod room_link;
mod seat_token_push;
mod seats;
mod state;

pub(crate) use adoption::Adoption;
pub(crate) use login_end::token_until;

use std::future;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use self::ending::Ending;
use self::state::{Phase, Session};
use crate::mailbox::answer;
use crate::room::AttachSeq;
use crate::session::handle::{ConnectOrder, Known};
use crate::session::message::SessionMessage;
use crate::session::registry::{SessionContext, SessionSeed};
use crate::supervisor::LiveGauge;

#[derive(Debug)]
pub(in crate::session) struct SessionActor;

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
            seats: seed.seats.into(),
            phase: Phase::Away,
            order: ConnectOrder::default(),
            epoch: AttachSeq(0),
            claims: 0,
            waiting: None,
            arriving: None,
            ending: None,
            renew_at: None,
            _counted: context.metrics.live(),
            _alive: LiveGauge::new("session"),
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

    /// Handles a message in a boxed future: the actor library keeps space for two futures of `handle` per live actor.
    fn handle(
        &self,
        _me: ActorRef<SessionMessage>,
        message: SessionMessage,
        session: &mut Session,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async {
            session.hear_all(message).await;
            Ok(())
        })
    }

    /// Does nothing: a session supervises no actor.
    fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SessionMessage>,
        _event: SupervisionEvent,
        _session: &mut Session,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        future::ready(Ok(()))
    }
}

impl Session {
    async fn hear_all(&mut self, message: SessionMessage) {
        if matches!(self.phase, Phase::Retired) {
            // A dropped reply port makes the caller look the session up again.
            if let SessionMessage::Seat(news) = message {
                self.context.missed(self.known.id, news);
            }
            return;
        }
        match message {
            SessionMessage::Attach {
                outbound,
                order,
                reply,
            } => self.attach(outbound, order, reply),
            SessionMessage::Detached { epoch } => self.detached(epoch),
            SessionMessage::BeginClaim { code, reply } => answer(reply, self.begin_claim(code)),
            SessionMessage::ClaimEnded => self.claim_ended(),
            SessionMessage::Seat(news) => self.hear(news),
            SessionMessage::Report { reply } => answer(reply, self.report()),
            SessionMessage::End {
                last_words,
                once,
                reply,
            } => self.end(Ending::End {
                last_words,
                once,
                reply,
            }),
            SessionMessage::Ended => self.ended_with_others(),
            // A change that was being written when the session ended with the others of its user.
            SessionMessage::EndSettled(_) | SessionMessage::AdoptionSettled(_)
                if matches!(self.phase, Phase::Ended) => {}
            SessionMessage::EndSettled(result) => self.end_settled(result),
            SessionMessage::Adopt { adoption, reply } => self.adopt(*adoption, reply),
            SessionMessage::AdoptionSettled(result) => self.adoption_settled(result),
            SessionMessage::LoggedIn { until } => self.logged_in(until),
            SessionMessage::Found { room } => self.found(room),
            SessionMessage::Missing { room, epoch } => self.missing(room, epoch),
            SessionMessage::CatchUp => self.catch_up(),
            SessionMessage::Delayed { by } => self.delayed(by),
            SessionMessage::Wake => self.woken(),
            SessionMessage::Renew => self.renew(),
            SessionMessage::Signed(signed) => self.signed(*signed),
            SessionMessage::Retire => self.retire(),
            #[cfg(feature = "faults")]
            SessionMessage::Panic => panic!("ordered"),
        }
        self.renew_later().await;
        self.slide_later().await;
    }
}

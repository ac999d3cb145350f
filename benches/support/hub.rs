//! Persistence as the daemon runs it, without the rest of the daemon.

use std::time::Duration;

use super::code::next_code;
use holdfast::clock::{HubClock, HubTime};
use holdfast::config::Config;
use holdfast::id::{RoomId, SessionId, SessionToken, UserId};
use holdfast::persistence::{
    NewRoom, NewSeat, NewSession, Persistence, PersistenceActor, Store, UserWrite,
};
use holdfast::token::Generations;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

/// Lifetime of a session and hold of a seat: longer than any measurement.
const HOUR: Duration = Duration::from_secs(3600);

/// An open database with its writer.
pub(crate) struct Hub {
    pub(crate) persistence: Persistence,
    pub(crate) clock: HubClock,
    supervisor: ActorCell,
}

impl Hub {
    pub(crate) async fn start(config: &Config) -> Hub {
        let clock = HubClock::start();
        let store = Store::open(config, clock).await.expect("a good database");
        let (supervisor, _) = Actor::spawn(None, Supervisor, ())
            .await
            .expect("nothing to fail on");
        let supervisor = supervisor.get_cell();
        PersistenceActor::start(&store, supervisor.clone())
            .await
            .expect("the store is open");
        Hub {
            persistence: store.persistence(),
            clock,
            supervisor,
        }
    }

    /// Stops without the marks of a planned stop.
    pub(crate) async fn stop(self) {
        self.persistence.drain().await;
        self.supervisor.stop(None);
    }

    pub(crate) fn new_session(&self) -> NewSession {
        NewSession {
            id: SessionId::new(),
            token: Some(SessionToken::random().hash()),
            expires_at: self.clock.now().plus(HOUR),
            login_until: None,
        }
    }
}

pub(crate) fn new_guest() -> UserWrite {
    UserWrite::Guest {
        id: UserId::guest(),
        name: "Guest".into(),
    }
}

pub(crate) fn new_room(kind: &str) -> NewRoom {
    NewRoom {
        id: RoomId::new(),
        code: next_code(),
        kind: kind.into(),
        settings: "{}".into(),
        grace: HOUR,
        stream_epoch: "benchmark".into(),
    }
}

pub(crate) fn new_seat(number: u16) -> NewSeat {
    NewSeat {
        number,
        team: None,
        hold_until: None,
        tokens: Generations::begin(HubTime(0)),
    }
}

struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // After a failure of the writer, the figure would mean nothing.
        if let SupervisionEvent::ActorFailed(_, error) = event {
            panic!("persistence failed: {error}");
        }
        Ok(())
    }
}

//! The root supervisor: starts each component, and restarts it when it fails.
//!
//! - Owns: the supervisors of rooms, sessions and connections, persistence, the matchmaker and the sweeper.
//! - Supervised by: nobody.
//! - On failure: the process ends with a reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::sweeper::Sweeper;
use crate::actions::{Actions, PlayerLimits};
use crate::auth::Verifier;
use crate::clock::HubClock;
use crate::config::Config;
use crate::connection::Connections;
use crate::listener::PartHealth;
use crate::matchmaking::Matchmaker;
use crate::persistence::{Persistence, PersistenceActor, SoftWrite, Store};
use crate::room::Rooms;
use crate::session::{SeatEventRouter, Sessions};
use crate::supervisor::{Readiness, RestartBudget, SHARDS};
use crate::token::Keyring;

/// How often the hub records that it is alive. After a crash each hold is longer by up to this time, never shorter.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// All components of the daemon.
pub(super) struct Parts {
    store: Store,
    pub(super) clock: HubClock,
    pub(super) persistence: Persistence,
    pub(super) matchmaker: Matchmaker,
    pub(super) rooms: Rooms,
    pub(super) sessions: Sessions,
    pub(super) actions: Actions,
    pub(super) connections: Connections,
    sweeper: Sweeper,
}

impl Parts {
    pub(super) fn new(
        config: &Config,
        verifier: Verifier,
        clock: HubClock,
        store: Store,
        keyring: Arc<Keyring>,
        tracker: TaskTracker,
        readiness: Readiness,
    ) -> Parts {
        let persistence = store.persistence();
        let matchmaker = Matchmaker::vacant();
        let notices = SeatEventRouter::default();
        let rooms = Rooms::new(
            config,
            clock,
            persistence.clone(),
            matchmaker.clone(),
            Arc::new(notices.clone()),
        );
        let sessions = Sessions::new(
            config,
            clock,
            persistence.clone(),
            rooms.clone(),
            notices,
            keyring,
        );
        let actions = Actions::new(
            sessions.clone(),
            rooms.clone(),
            persistence.clone(),
            matchmaker.clone(),
            Arc::new(PlayerLimits::new(config)),
        );
        let seated = config.kind.values().filter(|kind| kind.seats > 0);
        let sweeper = Sweeper {
            persistence: persistence.clone(),
            sessions: sessions.clone(),
            rooms: rooms.clone(),
            clock,
            readiness,
            first_after: seated.map(|kind| kind.grace).max().unwrap_or_default(),
        };
        Parts {
            sweeper,
            connections: Connections::new(config, verifier, actions.clone(), tracker),
            store,
            clock,
            persistence,
            matchmaker,
            rooms,
            sessions,
            actions,
        }
    }

    /// Returns the health of each component, except the database.
    pub(super) fn health(&self) -> Vec<PartHealth> {
        let writing = self.persistence.writing();
        let supervised = |part, is_well| PartHealth::new(part, is_well, "restarting");
        vec![
            PartHealth::new("writes", writing.is_committing, "failing"),
            PartHealth::new("write_queue", !writing.is_queue_full, "full"),
            supervised("persistence", writing.is_here),
            supervised("matchmaker", self.matchmaker.is_here()),
            supervised("rooms", self.rooms.is_whole()),
            supervised("sessions", self.sessions.is_whole()),
            supervised("connections", self.connections.is_whole()),
        ]
    }

    async fn start(&self, part: Component, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        match part {
            Component::Persistence => PersistenceActor::start(&self.store, hub).await,
            Component::Matchmaker => {
                let cell = self.matchmaker.start(hub).await?;
                self.rooms.offer_again();
                Ok(cell)
            }
            Component::Rooms(shard) => self.rooms.start_shard(shard, hub).await,
            Component::Sessions(shard) => self.sessions.start_shard(shard, hub).await,
            Component::Connections(shard) => self.connections.start_shard(shard, hub).await,
            Component::Sweeper => self.sweeper.start(hub).await,
        }
    }
}

/// A child of the root supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Component {
    Persistence,
    Matchmaker,
    Rooms(usize),
    Sessions(usize),
    Connections(usize),
    Sweeper,
}

impl Component {
    /// Returns all children in the order of starting: each needs only those before it.
    fn all() -> impl Iterator<Item = Component> {
        [Component::Persistence, Component::Matchmaker]
            .into_iter()
            .chain((0..SHARDS).map(Component::Rooms))
            .chain((0..SHARDS).map(Component::Sessions))
            .chain((0..SHARDS).map(Component::Connections))
            .chain([Component::Sweeper])
    }

    fn label(self) -> &'static str {
        match self {
            Component::Persistence => "persistence",
            Component::Matchmaker => "matchmaker",
            Component::Rooms(_) => "room_supervisor",
            Component::Sessions(_) => "session_supervisor",
            Component::Connections(_) => "connection_supervisor",
            Component::Sweeper => "sweeper",
        }
    }
}

/// A handle to the root supervisor.
#[derive(Debug)]
#[cfg_attr(feature = "faults", derive(Clone))]
pub(super) struct HubHandle(ActorRef<HubMessage>);

impl HubHandle {
    /// Stops all restarts: components that end from here on are not started again.
    pub(super) fn set_stopping(&self) {
        // If the hub has failed, nothing restarts anything.
        let _ = self.0.cast(HubMessage::Stop);
    }

    /// Makes the root supervisor fail.
    #[cfg(feature = "faults")]
    pub(super) fn panic(&self) {
        // It may have failed already.
        let _ = self.0.cast(HubMessage::Panic);
    }

    /// Starts to record that the hub is alive.
    pub(super) fn beat(&self) {
        // If the hub has failed, the daemon notices by itself.
        let _ = self.0.cast(HubMessage::Beat);
    }
}

#[derive(Debug)]
enum HubMessage {
    Restart(Component),
    Beat,
    Stop,
    /// Fail at a test's request.
    #[cfg(feature = "faults")]
    Panic,
}

/// The actor.
struct Hub {
    parts: Arc<Parts>,
}

struct Children {
    parts: HashMap<ActorId, Component>,
    budgets: HashMap<Component, RestartBudget>,
    fatal: Option<oneshot::Sender<String>>,
    is_stopping: bool,
}

impl HubHandle {
    /// Starts the tree. The receiver gets a reason when the process must end.
    pub(super) async fn start(
        parts: Arc<Parts>,
    ) -> Result<(HubHandle, oneshot::Receiver<String>), SpawnErr> {
        let (fatal, heard) = oneshot::channel();
        let (actor, _) = Actor::spawn(None, Hub { parts }, fatal).await?;
        Ok((HubHandle(actor), heard))
    }
}

impl Actor for Hub {
    type Msg = HubMessage;
    type State = Children;
    type Arguments = oneshot::Sender<String>;

    async fn pre_start(
        &self,
        me: ActorRef<HubMessage>,
        fatal: oneshot::Sender<String>,
    ) -> Result<Children, ActorProcessingErr> {
        let mut children = Children {
            parts: HashMap::new(),
            budgets: HashMap::new(),
            fatal: Some(fatal),
            is_stopping: false,
        };
        for part in Component::all() {
            let cell = self.parts.start(part, me.get_cell()).await?;
            children.parts.insert(cell.get_id(), part);
        }
        Ok(children)
    }

    async fn handle(
        &self,
        me: ActorRef<HubMessage>,
        message: HubMessage,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HubMessage::Restart(_) | HubMessage::Beat if children.is_stopping => {}
            HubMessage::Stop => children.is_stopping = true,
            HubMessage::Restart(part) => match self.parts.start(part, me.get_cell()).await {
                Ok(cell) => {
                    children.parts.insert(cell.get_id(), part);
                }
                Err(error) => children.failed(me, part, &error.to_string()),
            },
            #[cfg(feature = "faults")]
            HubMessage::Panic => panic!("ordered"),
            HubMessage::Beat => {
                let at = self.parts.clock.now();
                self.parts.persistence.mark(SoftWrite::Heartbeat { at });
                later(me, BEAT_EVERY, HubMessage::Beat);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<HubMessage>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, reason) => {
                children.ended(me, cell.get_id(), &reason.to_string());
            }
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                children.ended(me, cell.get_id(), &reason.unwrap_or_default());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl Children {
    fn ended(&mut self, me: ActorRef<HubMessage>, id: ActorId, reason: &str) {
        if let Some(part) = self.parts.remove(&id) {
            self.failed(me, part, reason);
        }
    }

    /// Restarts a component, or ends the process if it keeps failing.
    fn failed(&mut self, me: ActorRef<HubMessage>, part: Component, reason: &str) {
        if self.is_stopping {
            return;
        }
        metrics::counter!("holdfast_actor_restarts_total", "kind" => part.label()).increment(1);
        match self.budgets.entry(part).or_default().spend(Instant::now()) {
            Ok(delay) => {
                warn!(?part, reason, "component failed, restarting it");
                later(me, delay, HubMessage::Restart(part));
            }
            Err(spent) => {
                error!(?part, reason, "component keeps failing");
                if let Some(fatal) = self.fatal.take() {
                    // The daemon is stopping already.
                    let _ = fatal.send(format!("{} {spent}: {reason}", part.label()));
                }
            }
        }
    }
}

fn later(me: ActorRef<HubMessage>, delay: Duration, message: HubMessage) {
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        // The process is ending.
        let _ = me.cast(message);
    });
}

//! The sweeper: removes expired rows, a little at a time, through the writer of all other commands.
//!
//! - Owns: the progress of its round.
//! - Supervised by: the hub.
//! - On failure: restarted, and begins with a new round, one grace later.
//!
//! A slow query over the tables delays nobody: a reader runs it. The writer only removes a bounded number of rows by
//! their keys, together with the commands of players, and pauses after each time.

use std::time::Duration;

use metrics::{counter, histogram};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock::HubClock;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::persistence::{ExpiredRows, Persistence, ReadError, Sweep, WriteError};
use crate::room::{RoomKey, Rooms};
use crate::session::Sessions;
use crate::supervisor::{LiveGauge, LoadError, Phase, Readiness};

/// How long a session stays after it has ended or expired. Until then its client is answered that it has ended, and
/// may repeat its last requests.
const SESSION_KEPT: Duration = Duration::from_hours(24);

/// How long a room stays after it has closed. Until then its code is answered with "closed".
const ROOM_KEPT: Duration = Duration::from_hours(24);

/// Limit on the time from a room's commit to its actor. An older room without one has to be looked after.
const OPENING_MAX: Duration = Duration::from_mins(1);

/// How long the response to a request is stored under its idempotency key.
const KEY_KEPT: Duration = Duration::from_hours(24);

/// How long the id of a transaction is kept. The writer that made it looks it up within seconds.
const GROUP_KEPT: Duration = Duration::from_hours(1);

/// Time between two rounds.
const ROUND_EVERY: Duration = Duration::from_mins(1);

/// Time between two steps of a round: a sweep occupies the writer for a small share of the time.
const STEP_EVERY: Duration = Duration::from_millis(50);

/// The source of expired rows, and the registries that know which are in use.
#[derive(Debug, Clone)]
pub(super) struct Sweeper {
    pub(super) persistence: Persistence,
    pub(super) sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) clock: HubClock,
    pub(super) readiness: Readiness,
    /// Wait after the daemon is ready: players come back first.
    pub(super) first_after: Duration,
}

#[derive(Debug)]
pub(super) enum SweeperMessage {
    Step,
}

/// A round through all expired rows.
pub(super) struct Round {
    /// `None` between two rounds.
    began: Option<Instant>,
    stage: Stage,
    removed: u64,
    _alive: LiveGauge,
}

/// The next step of a round.
#[derive(Debug, Clone)]
enum Stage {
    /// The sessions after this one.
    Sessions(Uuid),
    /// The rooms after this one.
    Rooms(Uuid),
    /// The expired rows of a page of rooms, of which there may be more than one step can remove; then the rooms after
    /// an id.
    RoomsLeft(Vec<ExpiredRows>, Option<Uuid>),
    Keys,
    Groups,
}

/// The reason why a step was not made. The next round tries again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Sweeper {
    pub(super) async fn start(&self, hub: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, self.clone(), (), hub).await?;
        Ok(actor.get_cell())
    }

    /// Makes one step. Returns the next one, if the round is not over.
    async fn step(&self, stage: Stage) -> Result<(Option<Stage>, u64), StepError> {
        match stage {
            Stage::Sessions(after) => {
                let before = self.clock.now().minus(SESSION_KEPT);
                let page = self.persistence.dead_sessions(after, before).await?;
                let is_unused = |id: &SessionId| !self.sessions.is_live(*id);
                let dead: Vec<_> = page.dead.into_iter().filter(is_unused).collect();
                let removed = match dead.is_empty() {
                    true => 0,
                    false => {
                        self.sweep(ExpiredRows::Sessions(dead), SESSION_KEPT)
                            .await?
                    }
                };
                let next = page.next.map_or(Stage::Rooms(Uuid::nil()), Stage::Sessions);
                Ok((Some(next), removed))
            }
            Stage::Rooms(after) => Ok((Some(self.look_at_rooms(after).await?), 0)),
            Stage::RoomsLeft(mut litter, next) => {
                let Some(first) = litter.last() else {
                    return Ok((Some(next.map_or(Stage::Keys, Stage::Rooms)), 0));
                };
                let removed = self.sweep(first.clone(), ROOM_KEPT).await?;
                if removed == 0 {
                    litter.pop();
                }
                Ok((Some(Stage::RoomsLeft(litter, next)), removed))
            }
            Stage::Keys => {
                let removed = self.sweep(ExpiredRows::Keys, KEY_KEPT).await?;
                let next = if removed == 0 {
                    Stage::Groups
                } else {
                    Stage::Keys
                };
                Ok((Some(next), removed))
            }
            Stage::Groups => {
                let removed = self.sweep(ExpiredRows::Groups, GROUP_KEPT).await?;
                Ok(((removed > 0).then_some(Stage::Groups), removed))
            }
        }
    }

    /// Finds the expired rows of a page of rooms, and looks after open rooms that are not live.
    async fn look_at_rooms(&self, after: Uuid) -> Result<Stage, StepError> {
        let before = self.clock.now().minus(ROOM_KEPT);
        let opened_before = self.clock.now().minus(OPENING_MAX);
        let page = self.persistence.rooms_after(after, before, opened_before);
        let page = page.await?;
        let is_live = |code: RoomCode| self.rooms.live(&RoomKey::Code(code)).is_some();
        for code in page.open {
            if !is_live(code) {
                self.rooms.look_after(code).await?;
            }
        }
        let dead = page.dead.into_iter();
        let unused = dead.filter(|(_, code)| !is_live(*code));
        let unused: Vec<RoomId> = unused.map(|(id, _)| id).collect();
        let written_out = page.written_out.into_iter();
        let outlived = written_out.filter(|room| !self.persistence.is_stream_awaited(*room));
        let outlived: Vec<RoomId> = outlived.collect();
        let mut litter = Vec::new();
        if !unused.is_empty() {
            litter.push(ExpiredRows::Rooms(unused));
        }
        if !outlived.is_empty() {
            litter.push(ExpiredRows::Histories(outlived));
        }
        Ok(Stage::RoomsLeft(litter, page.next))
    }

    async fn sweep(&self, what: ExpiredRows, kept: Duration) -> Result<u64, WriteError> {
        let before = self.clock.now().minus(kept);
        let swept = self.persistence.sweep(Sweep { what, before }).await?;
        for (table, rows) in &swept {
            counter!("holdfast_swept_rows_total", "table" => *table).increment(*rows);
        }
        Ok(swept.iter().map(|(_, rows)| rows).sum())
    }
}

impl Actor for Sweeper {
    type Msg = SweeperMessage;
    type State = Round;
    type Arguments = ();

    async fn pre_start(
        &self,
        me: ActorRef<SweeperMessage>,
        (): (),
    ) -> Result<Round, ActorProcessingErr> {
        let (mut phase, first_after) = (self.readiness.watch(), self.first_after);
        tokio::spawn(async move {
            // A daemon that never gets ready has nothing to sweep.
            if phase.wait_for(|phase| *phase == Phase::Ready).await.is_ok() {
                me.send_after(first_after, || SweeperMessage::Step);
            }
        });
        Ok(Round::new())
    }

    async fn handle(
        &self,
        me: ActorRef<SweeperMessage>,
        SweeperMessage::Step: SweeperMessage,
        round: &mut Round,
    ) -> Result<(), ActorProcessingErr> {
        if !self.readiness.is_ready() {
            // The daemon stops.
            return Ok(());
        }
        let began = *round.began.get_or_insert_with(Instant::now);
        match self.step(round.stage.clone()).await {
            Ok((Some(next), removed)) => {
                round.removed += removed;
                round.stage = next;
                me.send_after(STEP_EVERY, || SweeperMessage::Step);
            }
            Ok((None, removed)) => {
                let rows = round.removed + removed;
                if rows > 0 {
                    info!(rows, "swept");
                }
                histogram!("holdfast_sweep_duration_seconds").record(began.elapsed());
                round.rest(&me);
            }
            Err(error) => {
                warn!(%error, stage = ?round.stage, "a sweep failed, the next one tries again");
                counter!("holdfast_sweeps_failed_total").increment(1);
                round.rest(&me);
            }
        }
        Ok(())
    }

    /// Ignores all events: it supervises nobody.
    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SweeperMessage>,
        _event: SupervisionEvent,
        _round: &mut Round,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Round {
    fn new() -> Round {
        Round {
            began: None,
            stage: Stage::Sessions(Uuid::nil()),
            removed: 0,
            _alive: LiveGauge::new("sweeper"),
        }
    }

    /// Waits for the next round.
    fn rest(&mut self, me: &ActorRef<SweeperMessage>) {
        self.stage = Stage::Sessions(Uuid::nil());
        self.removed = 0;
        self.began = None;
        me.send_after(ROUND_EVERY, || SweeperMessage::Step);
    }
}

//! Starts the rooms and sessions of the last run, while players come already: page by page, those first whose holds end
//! first. Somebody who asks for one before its turn has it started.
//!
//! No limit ends it: a page that cannot be read is asked for again, in halves.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::hub::Parts;
use crate::clock::HubTime;
use crate::id::{RoomId, SessionId};
use crate::mailbox::Unanswered;
use crate::persistence::ReadError;
use crate::supervisor::LoadError;

/// Rooms started at a time: enough to make the questions few, and few enough to be done in a moment.
const PAGE: usize = 256;

/// The wait before a page that could not be had is asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A room that is to be started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) first_deadline: HubTime,
    pub(super) id: RoomId,
}

/// The restore, while it runs.
#[derive(Debug)]
pub(super) struct Restoring {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Restoring {
    /// Begins to start these rooms, in this order, and then those in which nobody sits.
    pub(super) fn start(parts: Arc<Parts>, rooms: Vec<Waiting>, delay: Duration) -> Restoring {
        let stop = CancellationToken::new();
        let restore = Restore {
            parts,
            stop: stop.clone(),
            delay,
            page: PAGE,
        };
        Restoring {
            stop,
            task: tokio::spawn(restore.run(rooms)),
        }
    }

    /// Starts nothing more.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until nothing is being started any more.
    pub(super) async fn stopped(self) {
        self.stop.cancel();
        // A restore that has failed starts nothing.
        let _ = self.task.await;
    }
}

/// Why a page was not started.
#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the rooms and sessions could not be started: {0}")]
    Start(#[from] Unanswered),
}

struct Restore {
    parts: Arc<Parts>,
    stop: CancellationToken,
    /// Test hook: waited before each page in builds with `faults`.
    delay: Duration,
    /// Rooms on the next page.
    page: usize,
}

impl Restore {
    async fn run(mut self, rooms: Vec<Waiting>) {
        let began = Instant::now();
        let rooms: Vec<RoomId> = rooms.into_iter().map(|room| room.id).collect();
        self.start_all(&rooms).await;
        self.start_empty().await;
        if self.stop.is_cancelled() {
            return;
        }
        self.parts.rooms.restored();
        self.parts.sessions.restored();
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(rooms = rooms.len(), milliseconds, "all rooms are live");
    }

    /// Rooms without a seat, which were left shortly before the last run ended: they close when it is their time.
    async fn start_empty(&mut self) {
        let mut after = Some(Uuid::nil());
        while let Some(from) = after
            && !self.stop.is_cancelled()
        {
            match self.parts.persistence.empty_rooms(from).await {
                Ok((rooms, next)) => {
                    self.start_all(&rooms).await;
                    after = next;
                }
                Err(error) => self.wait_after(&error.into()).await,
            }
        }
    }

    async fn start_all(&mut self, mut rooms: &[RoomId]) {
        while !rooms.is_empty() {
            self.pause(self.delay).await;
            if self.stop.is_cancelled() {
                return;
            }
            let (page, rest) = rooms.split_at(self.page.min(rooms.len()));
            match self.start_page(page).await {
                Ok(()) => {
                    rooms = rest;
                    self.page = (self.page * 2).min(PAGE);
                }
                Err(error) => {
                    self.page = (self.page / 2).max(1);
                    self.wait_after(&error).await;
                }
            }
        }
    }

    /// Those that are live by now stay as they are.
    async fn start_page(&self, page: &[RoomId]) -> Result<(), PageError> {
        let Parts {
            persistence,
            rooms,
            sessions,
            ..
        } = &*self.parts;
        let stored = persistence.rooms_by_id(page.to_vec()).await?;
        let seats = stored.iter().flat_map(|room| &room.seats);
        let seated: HashSet<SessionId> = seats.map(|seat| seat.session).collect();
        for room in rooms.restore(stored).await? {
            rooms.find(&room).await?;
        }
        let seated = seated.into_iter().filter(|id| !sessions.is_live(*id));
        let stored = persistence.sessions_by_id(seated.collect()).await?;
        for session in sessions.restore(stored).await? {
            sessions.wake(session).await?;
        }
        Ok(())
    }

    async fn wait_after(&self, error: &PageError) {
        warn!(%error, rooms = self.page, "rooms of the last run are not live yet, trying again");
        self.pause(ASK_AGAIN_AFTER).await;
    }

    /// Waits, unless the hub stops.
    async fn pause(&self, wait: Duration) {
        if !wait.is_zero() {
            // Both ways it goes on: whoever called looks which it was.
            let _ = self
                .stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await;
        }
    }
}

//! Starts the rooms and sessions of the last run, while players already connect: page by page, in the order in which
//! holds end. If a client asks for one before its turn, it is started at once.
//!
//! There is no limit on the time: a page that cannot be read is read again, in halves.

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

/// Rooms that are started at a time: enough to keep queries few, and few enough to take a moment.
const PAGE: usize = 256;

/// Wait before a page that could not be read is read again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A room that waits to be started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) first_deadline: HubTime,
    pub(super) id: RoomId,
}

/// A restore in progress.
#[derive(Debug)]
pub(super) struct Restoring {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Restoring {
    /// Starts these rooms in the background, in this order, and then those without seats.
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

    /// Starts no more rooms.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops, and waits until nothing is being started any more.
    pub(super) async fn stopped(self) {
        self.stop.cancel();
        // A restore that has failed starts nothing.
        let _ = self.task.await;
    }
}

/// The reason why a page was not started.
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
    /// Fail point: the delay before each page in builds with `faults`.
    delay: Duration,
    /// Number of rooms on the next page.
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

    /// Starts rooms without seats, which emptied shortly before the last run ended: they close at their time.
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

    /// Starts a page of rooms and their sessions. Those that are live by now stay as they are.
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
        self.pause(RETRY_DELAY).await;
    }

    /// Waits, unless the hub stops.
    async fn pause(&self, wait: Duration) {
        if !wait.is_zero() {
            // In both cases it continues: the caller checks if the hub stops.
            let _ = self
                .stop
                .run_until_cancelled(tokio::time::sleep(wait))
                .await;
        }
    }
}

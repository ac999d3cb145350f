//! The handle through which all other modules read and write. It stays valid when the writers are restarted.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorStatus, MessagingErr};
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use super::database::error::{Class, classify, is_out_of_connections};
use super::database::publication_rows;
use super::queries::active_users::ActiveUsers;
use super::queries::read;
use super::store::Shared;
use super::writer::actor::unavailable;
use super::writer::clean_stop::CleanStop;
use super::writer::downtime::Startup;
use super::writer::message::PersistenceMessage;
use super::writer::queue::{Job, Settle};
use super::{
    Committed, HistoryWindow, ReadError, SoftWrite, StoredPublication, StoredRoom, StoredSession,
    StoredStream, StoredUser, Write, WriteError,
};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, UserId};

/// The longest that a read may take, below the 5 s after which a client gives up.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// The wait before a job is sent again to a missing writer: about the time of its restart.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A planned stop that has begun to write goes on while each commit comes within this time. A silent connection is
/// cut after 10 s, and its replacement needs time to do the work.
const STOP_STALLED_AFTER: Duration = Duration::from_secs(20);

/// The longest that a health probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to read from the database and to write to it. Cheap to clone.
#[derive(Clone)]
pub struct Persistence {
    pub(super) shared: Arc<Shared>,
}

/// The health of the write path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writing {
    /// The persistence actor is running.
    pub is_here: bool,
    /// The daemon holds its lock, and writes succeed. The heartbeat attempts one every 2 seconds.
    pub is_committing: bool,
    /// Some writer's queue is full, and its commands are refused.
    pub is_queue_full: bool,
}

impl Persistence {
    pub(super) fn new(shared: Arc<Shared>) -> Persistence {
        Persistence { shared }
    }

    /// Returns after the commit, with a definite refusal, or with [`WriteError::Lost`] if the writer failed.
    ///
    /// Waits until the outcome is known, which after an unanswered COMMIT may take longer than the command's
    /// deadline. A caller that answers a client sets its own timeout, and discards nothing but the answer.
    pub async fn write(&self, write: impl Into<Write>) -> Result<Committed, WriteError> {
        let (tell, told) = oneshot::channel();
        self.write_then(write, move |answer| {
            // The caller may have stopped waiting.
            let _ = tell.send(answer);
        });
        told.await.unwrap_or(Err(WriteError::Lost))
    }

    /// Writes like [`write`](Self::write), for callers that must not wait: `then` is called exactly once, and must be
    /// quick.
    pub fn write_then(
        &self,
        write: impl Into<Write>,
        then: impl FnOnce(Result<Committed, WriteError>) + Send + 'static,
    ) {
        self.write_since(write, Instant::now(), then);
    }

    /// Writes like [`write_then`](Self::write_then), for a command that has waited since `submitted`, where its
    /// deadline starts.
    pub fn write_since(
        &self,
        write: impl Into<Write>,
        submitted: Instant,
        then: impl FnOnce(Result<Committed, WriteError>) + Send + 'static,
    ) {
        let message = PersistenceMessage::Write {
            write: write.into(),
            submitted,
            settle: Settle::new(then),
        };
        if let Some(PersistenceMessage::Write { settle, .. }) = self.tell(message) {
            // The command never reached the actor, so certainly nothing is stored.
            settle.settle(Err(unavailable()));
        }
    }

    /// Queues a coalesced write, which may be lost. It is written within about a second.
    pub fn mark(&self, write: SoftWrite) {
        self.shared.marks.leave(write);
    }

    /// Returns the session with which the user holds a seat, if any.
    pub async fn seated_session_of_user(
        &self,
        user: &UserId,
    ) -> Result<Option<SessionId>, ReadError> {
        let (readers, user) = (self.readers(), user.clone());
        self.read(async move { read::seated_session_of_user(&readers, &user).await })
            .await
    }

    /// Returns the newest publications of a durable stream, in order and without a gap.
    pub async fn history(
        &self,
        window: HistoryWindow,
    ) -> Result<Vec<StoredPublication>, ReadError> {
        let readers = self.readers();
        self.read(async move { publication_rows::recent(&readers, &window).await })
            .await
    }

    pub async fn user(&self, user: &UserId) -> Result<Option<StoredUser>, ReadError> {
        let (readers, user) = (self.readers(), user.clone());
        self.read(async move { read::user(&readers, &user).await })
            .await
    }

    /// Returns the room as stored once all earlier writes are settled.
    pub async fn room_truth(&self, code: RoomCode) -> Result<Option<StoredRoom>, ReadError> {
        self.barrier().await?;
        self.room_by_code(code).await
    }

    /// Returns the session as stored once all earlier writes are settled.
    pub async fn session_truth(&self, id: SessionId) -> Result<Option<StoredSession>, ReadError> {
        self.barrier().await?;
        self.session_by_id(id).await
    }

    /// Begins a run: extends the holds by the downtime. Called once, before anything is restored.
    pub async fn begin_run(&self) -> Result<Startup, WriteError> {
        self.ask(Job::BeginRun)
            .await
            .unwrap_or(Err(WriteError::Lost))
    }

    /// Records that the hub takes players from now on. Until then a start may fail and lose nothing.
    pub async fn open_doors(&self) -> Result<(), WriteError> {
        self.ask(Job::OpenDoors)
            .await
            .unwrap_or(Err(WriteError::Lost))
    }

    /// Ends a run as planned: after everything queued before, writes the memory histories out and marks the stop.
    /// `since` is when players were no longer admitted: no hold is charged for the time after it. A room missing from
    /// `streams` begins a new stream.
    ///
    /// Takes as long as it makes progress. Gives up if nothing is committed for `within`, or, once it has begun to
    /// write, for [`STOP_STALLED_AFTER`] if that is longer.
    pub async fn clean_stop(
        &self,
        streams: Vec<(RoomId, StoredStream)>,
        since: HubTime,
        within: Duration,
    ) -> Result<(), WriteError> {
        let (progress, mut commits) = watch::channel(0);
        let stop = CleanStop {
            streams,
            since,
            progress,
        };
        let stopped = self.ask(|reply| Job::CleanStop(stop, reply));
        tokio::pin!(stopped);
        let mut give_up = Instant::now() + within;
        loop {
            tokio::select! {
                biased;
                stopped = &mut stopped => return stopped.unwrap_or(Err(WriteError::Lost)),
                Ok(()) = commits.changed() => {
                    give_up = Instant::now() + within.max(STOP_STALLED_AFTER);
                }
                () = tokio::time::sleep_until(give_up) => return Err(WriteError::Lost),
            }
        }
    }

    /// Waits until the database can no longer be trusted, which only a new process fixes. Returns the reason.
    pub async fn broken(&self) -> &'static str {
        self.shared.broken.cancelled().await;
        "an fsync of the database failed, and the last writes may be lost; a restart reads what is stored"
    }

    /// Probes the database, for at most 2 s, and returns how long the answer took.
    pub async fn probe(&self) -> Result<Duration, ReadError> {
        let readers = self.readers();
        let started = Instant::now();
        let ping = async move { read::ping(&readers).await };
        self.within(PROBE_TIMEOUT, ping).await?;
        Ok(started.elapsed())
    }

    /// Updates the gauges of the write queues and of the read connections.
    pub fn measure(&self) {
        let metrics = &self.shared.metrics;
        let depths = self.shared.queue_depths();
        let waiting: usize = depths.iter().map(|(depth, _)| depth).sum();
        metrics.queue_depth.set(waiting as f64);
        let (in_use, idle) = self.shared.readers.connections();
        metrics.in_use.set(f64::from(in_use));
        metrics.idle.set(f64::from(idle));
    }

    /// Returns the health of the write path, without asking the database.
    pub fn writing(&self) -> Writing {
        let depths = self.shared.queue_depths();
        let shell = self.shared.shell.read();
        Writing {
            is_here: shell
                .as_ref()
                .is_some_and(|shell| shell.get_status() < ActorStatus::Draining),
            is_committing: self.shared.lock.is_held() && self.shared.writes.is_well(),
            is_queue_full: depths.iter().any(|(depth, max)| depth >= max),
        }
    }

    /// Waits until everything queued is settled, then closes the database. Later writes are refused.
    pub async fn drain(&self) {
        // If the writer is gone there is nothing left to wait for.
        let _ = self.ask(Job::Drain).await;
        let shell = self.shared.shell.write().take();
        if let Some(shell) = shell {
            // The last answers are still in its mailbox. An actor that has ended has none left.
            let _ = shell.drain();
        }
        // Everything is committed, so a failed close loses nothing.
        let _ = self.readers().close_by_ref().await;
        for lane in &self.shared.lanes {
            // The writer ends after the actor.
            let writer = lane.writer.lock().await;
            let _ = writer.connection().close_by_ref().await;
        }
        self.shared.lock.release().await;
    }

    async fn barrier(&self) -> Result<(), ReadError> {
        let wait = async {
            // While persistence is being restarted, nothing answers.
            while self.ask(Job::Barrier).await.is_none() {
                tokio::time::sleep(RETRY_DELAY).await;
            }
        };
        tokio::time::timeout(READ_TIMEOUT, wait)
            .await
            .map_err(|_| ReadError::Unavailable)
    }

    /// Makes the persistence actor fail.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        drop(self.tell(PersistenceMessage::Panic));
    }

    /// Makes the first writer fail, after everything queued before.
    #[cfg(feature = "faults")]
    pub fn panic_writer(&self) {
        drop(self.tell(PersistenceMessage::Job(Job::Panic)));
    }

    /// Sends a job. Returns None if the actor or a writer is gone.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        // A message that is handed back is dropped with its reply sender, which ends the wait below.
        drop(self.tell(PersistenceMessage::Job(job(reply))));
        answer.await.ok()
    }

    /// Sends a message to the actor, and hands it back if there is none.
    fn tell(&self, message: PersistenceMessage) -> Option<PersistenceMessage> {
        let shell = self.shared.shell.read();
        let Some(shell) = shell.as_ref() else {
            return Some(message);
        };
        match shell.cast(message) {
            Err(MessagingErr::SendErr(message)) => Some(message),
            // Nothing else can happen to a message between actors of one process.
            Ok(()) | Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => None,
        }
    }

    pub(super) fn active_users(&self) -> &ActiveUsers {
        &self.shared.active_users
    }

    pub(super) fn readers(&self) -> DatabaseConnection {
        self.shared.readers.pool()
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl Future<Output = Result<T, DbErr>> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.within(READ_TIMEOUT, question).await
    }

    /// Runs a read in its own task, so that a caller that gives up cancels no statement. Abandoned reads continue, so
    /// their number is limited; callers wait for a permit.
    async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl Future<Output = Result<T, DbErr>> + Send + 'static,
    ) -> Result<T, ReadError> {
        let give_up = Instant::now() + limit;
        let place = Arc::clone(&self.shared.reads).acquire_owned();
        let Ok(place) = tokio::time::timeout_at(give_up, place).await else {
            // The reads that hold the permits find out whether their connections are dead.
            metrics::counter!("holdfast_reads_failed_total", "reason" => "late").increment(1);
            return Err(ReadError::Unavailable);
        };
        let asked = tokio::spawn(async move {
            let answer = question.await;
            drop(place);
            answer
        });
        let mut failure = ReadError::Unavailable;
        let outcome = match tokio::time::timeout_at(give_up, asked).await {
            Ok(Ok(Ok(found))) => return Ok(found),
            Ok(Ok(Err(error))) => {
                warn!(%error, "a read failed");
                if is_out_of_connections(&error) {
                    self.shared.readers.replace_dead().await;
                }
                if classify(&error) == Class::Permanent {
                    failure = ReadError::Failed;
                }
                "failed"
            }
            Ok(Err(_)) => "panicked",
            Err(_) => {
                warn!("a read was not answered within {limit:?}");
                self.shared.readers.replace_dead().await;
                "late"
            }
        };
        metrics::counter!("holdfast_reads_failed_total", "reason" => outcome).increment(1);
        Err(failure)
    }
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persistence").finish_non_exhaustive()
    }
}

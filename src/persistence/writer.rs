//! The writer task: takes what has collected while it was committing, and commits it as one group.
//!
//! There is no timer: the previous commit is the wait. The task talks to the database outside of every
//! `select!`, because a cancelled BEGIN leaves a connection inside a transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use ractor::ActorRef;
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::actor::unavailable;
use super::backoff::Backoff;
use super::commit::{Attempt, Group, Interrupted, Writer};
use super::error::{Class, classify};
use super::group::{self, Outcome};
use super::message::PersistenceMessage;
use super::queue::{Answer, CleanStop, Item, Job, Work};
use super::run::{self, RunStart};
use super::store::Shared;
use super::{Refused, WriteError};

/// Commands in one group at most, whatever the configuration says: with nine columns a row they stay below
/// SQLite's 32,766 parameters, and beyond it a group only gets slower, not more efficient.
const BATCH_LARGEST: usize = 2048;

/// Runs until its queue is closed. Begins when the writer before it has ended.
pub(super) async fn run(
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Work>,
    shell: ActorRef<PersistenceMessage>,
) {
    let _farewell = Farewell(shell.clone());
    let writer = shared.writer.clone().lock_owned().await;
    let mut committer = Committer {
        shared,
        writer,
        shell,
    };
    committer.settle_left_over().await;
    committer.serve(queue).await;
}

/// Tells the shell that its writer is gone, however it went.
struct Farewell(ActorRef<PersistenceMessage>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // The shell may have gone first; that is how a writer usually ends.
        let _ = self.0.cast(PersistenceMessage::WriterEnded);
    }
}

struct Committer {
    shared: Arc<Shared>,
    writer: OwnedMutexGuard<Writer>,
    shell: ActorRef<PersistenceMessage>,
}

impl Committer {
    async fn serve(&mut self, mut queue: mpsc::Receiver<Work>) {
        let batch_max = self.shared.settings.batch_max.clamp(1, BATCH_LARGEST);
        let mut batch = Vec::with_capacity(batch_max);
        loop {
            // Commands first: the marks go with them.
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut batch, batch_max) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = self.shared.marks.due() => {}
            }
            if batch.is_empty() {
                self.commit(Vec::new()).await;
            } else {
                self.process(batch.drain(..)).await;
            }
        }
    }

    async fn process(&mut self, batch: impl Iterator<Item = Work>) {
        let mut items = Vec::new();
        for work in batch {
            match work {
                Work::Write(item, ticket) => {
                    if ticket.take() {
                        items.push(item);
                    }
                }
                Work::Job(job) => {
                    self.commit(std::mem::take(&mut items)).await;
                    self.carry_out(job).await;
                }
            }
        }
        if !items.is_empty() {
            self.commit(items).await;
        }
    }

    /// Commits the commands in as few groups as their order allows, and the waiting marks with the first.
    async fn commit(&mut self, mut items: Vec<Item>) {
        let mut groups = VecDeque::new();
        loop {
            let rest = items.split_off(group::cut(&items));
            groups.push_back(items);
            items = rest;
            if items.is_empty() {
                break;
            }
        }
        while let Some(group) = groups.pop_front() {
            if !group.is_empty() || !self.shared.marks.is_empty() {
                self.settle_group(group, &mut groups).await;
            }
        }
    }

    /// Tries until each of the commands is settled or has been moved to a group in front of `groups`.
    async fn settle_group(&mut self, mut items: Vec<Item>, groups: &mut VecDeque<Vec<Item>>) {
        let mut backoff = Backoff::new();
        loop {
            items = self.refuse_late(items);
            let marks = self.shared.marks.take();
            if items.is_empty() && marks.is_empty() {
                return;
            }
            if !self.shared.lock.is_held() {
                self.shared.marks.restore(marks);
                return self.refuse_all(items, &unavailable());
            }
            let id = Uuid::now_v7();
            let shared: Arc<[Item]> = items.into();
            let marks: Arc<[_]> = marks.into();
            let attempt = self.attempt(id, &shared, &marks).await;
            items = shared.to_vec();
            match attempt {
                Attempt::Committed(outcomes) => {
                    return self.settle_outcomes(items, outcomes, groups);
                }
                Attempt::Unknown(outcomes) => {
                    self.shared.metrics.unknown.increment(1);
                    if self.find_out(id).await {
                        return self.settle_outcomes(items, outcomes, groups);
                    }
                    self.shared.marks.restore(marks.to_vec());
                }
                Attempt::MarksRefused(error) => {
                    error!(%error, count = marks.len(), "marks were refused and are lost");
                }
                Attempt::Permanent(error) => {
                    self.shared.marks.restore(marks.to_vec());
                    return self.split(items, &error, groups);
                }
                Attempt::Transient(error) => {
                    warn!(%error, commands = items.len(), "a commit failed and is tried again");
                    self.shared.writes.fails();
                    self.shared.marks.restore(marks.to_vec());
                    if items.is_empty() {
                        // Marks alone: they are due again in a second.
                        return;
                    }
                    self.shared.metrics.retries.increment(1);
                    backoff.wait().await;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        id: Uuid,
        items: &Arc<[Item]>,
        marks: &Arc<[super::SoftWrite]>,
    ) -> Attempt {
        let group = Group {
            id,
            items: items.clone(),
            marks: marks.clone(),
            now: self.shared.clock.now(),
            commit_delay: self.shared.commit_delay,
        };
        if !items.is_empty() {
            *self.shared.in_flight.lock() = Some(id);
        }
        let started = Instant::now();
        self.shared.writes.wants();
        let attempt = self.writer.attempt(group).await;
        let metrics = &self.shared.metrics;
        metrics.commit_duration.record(started.elapsed());
        match &attempt {
            Attempt::Unknown(_) => {}
            Attempt::Committed(_) => {
                *self.shared.in_flight.lock() = None;
                self.shared.writes.answers();
                metrics.commits.increment(1);
                metrics.group_size.record(as_f64(items.len()));
            }
            Attempt::Permanent(_) | Attempt::MarksRefused(_) => {
                *self.shared.in_flight.lock() = None;
                self.shared.writes.answers();
                metrics.rollbacks.increment(1);
            }
            Attempt::Transient(_) => {
                *self.shared.in_flight.lock() = None;
                metrics.rollbacks.increment(1);
            }
        }
        attempt
    }

    /// Asks until the database says whether a group is stored. Without this answer nothing can be told.
    async fn find_out(&mut self, id: Uuid) -> bool {
        let mut backoff = Backoff::new();
        loop {
            match self.writer.is_stored(id, self.shared.clock.now()).await {
                Ok(is_stored) => {
                    info!(is_stored, "the outcome of an unanswered COMMIT is known");
                    *self.shared.in_flight.lock() = None;
                    self.shared.writes.answers();
                    return is_stored;
                }
                Err(error) => {
                    warn!(%error, "the outcome of a COMMIT is still unknown");
                    self.shared.writes.fails();
                    backoff.wait().await;
                }
            }
        }
    }

    /// A writer before this one may have left a group open: later truth must not change any more.
    async fn settle_left_over(&mut self) {
        let left = *self.shared.in_flight.lock();
        if let Some(id) = left {
            self.find_out(id).await;
        }
    }

    fn settle_outcomes(
        &mut self,
        items: Vec<Item>,
        outcomes: Vec<Outcome>,
        groups: &mut VecDeque<Vec<Item>>,
    ) {
        let mut answers = Vec::with_capacity(items.len());
        let mut again = Vec::new();
        for (item, outcome) in items.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Answered(answer) => answers.push((item.number, answer)),
                Outcome::Again => again.push(item),
            }
        }
        if !again.is_empty() {
            groups.push_front(again);
        }
        self.answer(answers);
    }

    /// Halves a group that cannot be committed, until the culprit is alone.
    fn split(&mut self, mut items: Vec<Item>, error: &DbErr, groups: &mut VecDeque<Vec<Item>>) {
        match items.len() {
            0 => error!(%error, "the database refused an empty group"),
            1 => {
                error!(%error, command = ?items[0].command, "the database refused a command");
                self.refuse_all(items, &Refused::Internal);
            }
            count => {
                let second = items.split_off(count / 2);
                groups.push_front(second);
                groups.push_front(items);
            }
        }
    }

    fn refuse_late(&mut self, items: Vec<Item>) -> Vec<Item> {
        let now = Instant::now();
        let (late, timely): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.deadline <= now);
        if !late.is_empty() {
            metrics::counter!("holdfast_writes_refused_total", "reason" => "deadline")
                .increment(late.len() as u64);
        }
        self.refuse_all(late, &unavailable());
        timely
    }

    fn refuse_all(&mut self, items: Vec<Item>, refused: &Refused) {
        let answers = items
            .into_iter()
            .map(|item| (item.number, Err(refused.clone())));
        self.answer(answers.collect());
    }

    fn answer(&self, answers: Vec<(u64, Answer)>) {
        if answers.is_empty() {
            return;
        }
        // If the shell is gone, its reply ports have told that the answers are lost.
        let _ = self.shell.cast(PersistenceMessage::Settled(answers));
    }

    async fn carry_out(&mut self, job: Job) {
        // Who asked may have stopped waiting: then nobody needs the answer.
        match job {
            #[cfg(feature = "faults")]
            Job::Panic => panic!("ordered"),
            Job::Barrier(reply) => {
                let _ = reply.send(());
            }
            Job::BeginRun(reply) => {
                let _ = reply.send(self.begin_run().await);
            }
            Job::CleanStop(stop, reply) => {
                let _ = reply.send(self.clean_stop(stop).await);
            }
            Job::Drain(reply) => {
                self.commit(Vec::new()).await;
                self.checkpoint().await;
                let _ = reply.send(());
            }
        }
    }

    async fn begin_run(&mut self) -> Result<RunStart, WriteError> {
        let mut last = None;
        let give_up = Instant::now() + self.shared.settings.deadline;
        let mut backoff = Backoff::new();
        while last.is_none() || Instant::now() < give_up {
            let connection = self.writer.connection().clone();
            let now = self.shared.clock.now();
            let kinds = Arc::clone(&self.shared.memory_kinds);
            let begun = self
                .writer
                .guarded(async move { run::begin(&connection, &kinds, now).await })
                .await;
            match said(begun) {
                Ok((start, taken_over)) => {
                    *self.shared.taken_over.lock() = taken_over;
                    return Ok(start);
                }
                Err(error) => {
                    warn!(%error, "the run could not begin");
                    self.writer.look_after_connection(&error).await;
                    let is_final = classify(&error) == Class::Permanent;
                    last = Some(error);
                    if is_final {
                        break;
                    }
                    backoff.wait().await;
                }
            }
        }
        Err(WriteError::Lost)
    }

    async fn clean_stop(&mut self, stop: CleanStop) -> Result<(), WriteError> {
        let streams: Arc<[_]> = stop.streams.into();
        let mut backoff = Backoff::new();
        loop {
            // The marks first: they are part of what the next run finds.
            self.commit(Vec::new()).await;
            let (connection, streams) = (self.writer.connection().clone(), Arc::clone(&streams));
            let now = self.shared.clock.now();
            let stopped = self
                .writer
                .guarded(async move { run::stop_cleanly(&connection, &streams, now).await })
                .await;
            match said(stopped) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    warn!(%error, "the planned stop could not be recorded");
                    if classify(&error) == Class::Permanent || Instant::now() >= stop.give_up {
                        return Err(WriteError::Lost);
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Empties SQLite's log into its database, so that the file alone is whole.
    async fn checkpoint(&mut self) {
        let connection = self.writer.connection().clone();
        if connection.get_database_backend() == sea_orm::DbBackend::Postgres {
            return;
        }
        let result = self
            .writer
            .guarded(async move {
                connection
                    .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
                    .await
            })
            .await;
        if let Err(error) = said(result) {
            warn!(%error, "the log was not checkpointed; the next start does it");
        }
    }
}

fn said<T>(result: Result<Result<T, DbErr>, Interrupted>) -> Result<T, DbErr> {
    match result {
        Ok(result) => result,
        Err(Interrupted::Cut) => Err(DbErr::ConnectionAcquire(
            sea_orm::ConnAcquireErr::ConnectionClosed,
        )),
        Err(Interrupted::Panicked) => Err(DbErr::Custom("the transaction panicked".into())),
    }
}

fn as_f64(count: usize) -> f64 {
    // Queue and group sizes are far below the 2^32 from where this would be wrong.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

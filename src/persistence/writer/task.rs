//! The writer task of a lane: takes what has collected during its last commit, and commits it as one group.
//!
//! There is no timer: the previous commit is the wait. The task talks to the database outside of every `select!`,
//! because a cancelled BEGIN leaves a connection inside a transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use ractor::ActorRef;
use sea_orm::DbErr;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::actor::unavailable;
use super::batching;
use super::commit::{Attempt, Committer, Group};
use super::exclusive_jobs;
use super::message::PersistenceMessage;
use super::queue::Work;
use crate::persistence::database::backoff::Backoff;
use crate::persistence::item::{Answer, Item};
use crate::persistence::statements::Outcome;
use crate::persistence::store::Shared;
use crate::persistence::{Refused, SoftWrite};

/// The most commands in one group, whatever is configured. With eleven columns per row they stay below SQLite's
/// 32,766 parameters, and beyond it a group only gets slower, not more efficient.
const BATCH_LARGEST: usize = 2048;

/// Runs until its queue is closed. Begins when the previous writer of this lane has ended.
pub(crate) async fn run(
    shared: Arc<Shared>,
    lane: usize,
    queue: mpsc::Receiver<Work>,
    shell: ActorRef<PersistenceMessage>,
) {
    let _farewell = Farewell(shell.clone());
    let writer = shared.lanes[lane].writer.clone().lock_owned().await;
    let mut committer = Committer {
        shared,
        lane,
        writer,
        shell,
    };
    committer.settle_left_over().await;
    committer.serve(queue).await;
}

/// A guard that notifies the actor when its writer ends, however it ends.
struct Farewell(ActorRef<PersistenceMessage>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // The actor may have ended first, which is how a writer usually ends.
        let _ = self.0.cast(PersistenceMessage::WriterEnded);
    }
}

impl Committer {
    async fn serve(&mut self, mut queue: mpsc::Receiver<Work>) {
        let batch_max = self.shared.settings.batch_max.clamp(1, BATCH_LARGEST);
        let mut batch = Vec::with_capacity(batch_max);
        loop {
            // Commands first: the coalesced writes go with them.
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut batch, batch_max) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = self.shared.marks.due(), if self.has_marks() => {}
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
                Work::Job(job, before) => {
                    self.commit(std::mem::take(&mut items)).await;
                    if exclusive_jobs::may_begin(before).await {
                        self.carry_out(job).await;
                    }
                }
                Work::Settle(settled) => {
                    self.commit(std::mem::take(&mut items)).await;
                    // The receiver may be gone.
                    let _ = settled.send(());
                }
            }
        }
        if !items.is_empty() {
            self.commit(items).await;
        }
    }

    /// Returns whether coalesced writes go with this lane: only the first one takes them.
    fn has_marks(&self) -> bool {
        self.lane == 0
    }

    fn take_marks(&self, items: &[Item]) -> Vec<SoftWrite> {
        if self.has_marks() {
            let commands = items.iter().map(|item| &item.command);
            self.shared.marks.take(commands)
        } else {
            Vec::new()
        }
    }

    fn in_flight(&self) -> &Mutex<Option<Uuid>> {
        &self.shared.lanes[self.lane].in_flight
    }

    /// Commits the commands in as few groups as their order allows, and the waiting coalesced writes with the first.
    /// Returns false if the database did not take all coalesced writes.
    pub(crate) async fn commit(&mut self, mut items: Vec<Item>) -> bool {
        let mut groups = VecDeque::new();
        loop {
            let rest = items.split_off(batching::cut(&items));
            groups.push_back(items);
            items = rest;
            if items.is_empty() {
                break;
            }
        }
        let mut are_marks_stored = true;
        while let Some(group) = groups.pop_front() {
            are_marks_stored = self.settle_group(group, &mut groups).await;
        }
        are_marks_stored
    }

    /// Retries until each command is settled or has been moved to a group in front of `groups`. Returns false if the
    /// database did not take all coalesced writes.
    async fn settle_group(
        &mut self,
        mut items: Vec<Item>,
        groups: &mut VecDeque<Vec<Item>>,
    ) -> bool {
        let mut backoff = Backoff::new();
        let is_for_marks = items.is_empty();
        loop {
            items = self.refuse_late(items);
            if items.is_empty() && !is_for_marks {
                // The coalesced writes alone can wait: commands that may still be in time are in the queue.
                return true;
            }
            let marks = self.take_marks(&items);
            if items.is_empty() && marks.is_empty() {
                return true;
            }
            if !self.shared.lock.is_held() {
                self.shared.marks.restore(marks);
                self.refuse_all(items, &unavailable());
                return false;
            }
            let id = Uuid::now_v7();
            let shared = Arc::new(items);
            let marks: Arc<[_]> = marks.into();
            let attempt = self.attempt(id, &shared, &marks).await;
            items = Arc::unwrap_or_clone(shared);
            match attempt {
                Attempt::Committed { outcomes, left } => {
                    self.shared.marks.restore(left);
                    self.settle_outcomes(items, outcomes, groups);
                    return true;
                }
                Attempt::Unknown(outcomes) => {
                    self.shared.metrics.unknown.increment(1);
                    if self.find_out(id).await {
                        self.settle_outcomes(items, outcomes, groups);
                        return true;
                    }
                    self.shared.marks.restore(marks.to_vec());
                }
                Attempt::MarksRefused(error) => {
                    error!(%error, count = marks.len(), "coalesced writes were refused and are lost");
                }
                Attempt::Permanent(error) => {
                    self.shared.marks.restore(marks.to_vec());
                    self.split(items, &error, groups);
                    return true;
                }
                Attempt::Transient(error) => {
                    warn!(%error, commands = items.len(), "a commit failed and is tried again");
                    self.shared.writes.fails();
                    self.shared.marks.restore(marks.to_vec());
                    if items.is_empty() {
                        // Coalesced writes alone: they are due again in a second.
                        return false;
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
        items: &Arc<Vec<Item>>,
        marks: &Arc<[SoftWrite]>,
    ) -> Attempt {
        let group = Group {
            id,
            items: items.clone(),
            marks: marks.clone(),
            now: self.shared.clock.now(),
            seats_max: self.shared.seats_max,
            commit_delay: self.shared.commit_delay,
        };
        if !items.is_empty() {
            *self.in_flight().lock() = Some(id);
        }
        let started = Instant::now();
        self.shared.writes.wants();
        let attempt = self.writer.attempt(group).await;
        let metrics = &self.shared.metrics;
        metrics.commit_duration.record(started.elapsed());
        match &attempt {
            Attempt::Unknown(_) => {}
            Attempt::Committed { .. } => {
                *self.in_flight().lock() = None;
                self.shared.writes.answers();
                metrics.commits.increment(1);
                metrics.group_size.record(as_f64(items.len()));
            }
            Attempt::Permanent(_) | Attempt::MarksRefused(_) => {
                *self.in_flight().lock() = None;
                self.shared.writes.answers();
                metrics.rollbacks.increment(1);
            }
            Attempt::Transient(_) => {
                *self.in_flight().lock() = None;
                metrics.rollbacks.increment(1);
            }
        }
        attempt
    }

    /// Asks until the database states whether a group is stored. Before that no command of it can be answered.
    async fn find_out(&mut self, id: Uuid) -> bool {
        let mut backoff = Backoff::new();
        loop {
            match self.writer.is_stored(id, self.shared.clock.now()).await {
                Ok(is_stored) => {
                    info!(is_stored, "the outcome of an unanswered COMMIT is known");
                    *self.in_flight().lock() = None;
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

    /// Settles a group that the previous writer left open, so that a later read does not change any more.
    async fn settle_left_over(&mut self) {
        let left = *self.in_flight().lock();
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
        // If the actor is gone, its dropped completions have reported the answers as lost.
        let _ = self.shell.cast(PersistenceMessage::Settled(answers));
    }
}

fn as_f64(count: usize) -> f64 {
    // Group sizes are far below 2^32, from where this would be wrong.
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

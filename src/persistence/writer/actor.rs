//! The persistence actor: holds the completions and deadlines of commands, and passes the commands to the writer
//! tasks.
//!
//! A mailbox can neither be drained in batches nor push back, so each writer has a bounded queue of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::message::PersistenceMessage;
use super::queue::{Job, Settle, Ticket, Work};
use super::{lane, task};
use crate::persistence::item::{Answer, Item};
use crate::persistence::store::{Shared, Store};
use crate::persistence::{Refused, Write};

/// How long a refused caller should wait: a full queue drains in less, and a lost database may be back.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The actor that starts the writers, and is restarted with them.
#[derive(Debug)]
pub struct PersistenceActor;

impl PersistenceActor {
    /// Starts the writers under `supervisor`. After a failure, start them again with the same store: handles stay
    /// valid. A new writer begins when its predecessor has ended, and settles that one's last group first.
    pub async fn start(store: &Store, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Shell, store.shared.clone(), supervisor).await?;
        Ok(actor.get_cell())
    }
}

struct Shell;

/// The commands that wait for an answer, and the queues of the writers.
struct Waiting {
    /// One per lane.
    queues: Vec<mpsc::Sender<Work>>,
    deadline: Duration,
    next: u64,
    ports: HashMap<u64, (Settle, Ticket)>,
    /// The earliest first.
    deadlines: VecDeque<(Instant, u64)>,
    /// When the timer fires, because a deadline may have passed.
    timer: Option<Instant>,
}

impl Actor for Shell {
    type Msg = PersistenceMessage;
    type State = Waiting;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        myself: ActorRef<PersistenceMessage>,
        shared: Arc<Shared>,
    ) -> Result<Waiting, ActorProcessingErr> {
        let mut queues = Vec::with_capacity(shared.lanes.len());
        for lane in 0..shared.lanes.len() {
            let (queue, taken) = mpsc::channel(shared.settings.queue_max.max(1));
            queues.push(queue);
            tokio::spawn(task::run(shared.clone(), lane, taken, myself.clone()));
        }
        let deadline = shared.settings.deadline;
        *shared.queues.write() = queues.iter().map(mpsc::Sender::downgrade).collect();
        *shared.shell.write() = Some(myself);
        Ok(Waiting {
            queues,
            deadline,
            next: 0,
            ports: HashMap::new(),
            deadlines: VecDeque::new(),
            timer: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PersistenceMessage>,
        message: PersistenceMessage,
        waiting: &mut Waiting,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PersistenceMessage::Write {
                write,
                submitted,
                settle,
            } => waiting.hand_over(write, submitted, settle),
            PersistenceMessage::Job(job) => hand_over_job(&waiting.queues, job),
            PersistenceMessage::Settled(answers) => waiting.settle(answers),
            PersistenceMessage::DeadlinePassed => {
                waiting.timer = None;
                waiting.cancel_late(Instant::now());
            }
            #[cfg(feature = "faults")]
            PersistenceMessage::Panic => panic!("ordered"),
            PersistenceMessage::WriterEnded => {
                return Err("the writer task has ended while its queue was open".into());
            }
        }
        waiting.run_timer(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<PersistenceMessage>,
        _event: SupervisionEvent,
        _waiting: &mut Waiting,
    ) -> Result<(), ActorProcessingErr> {
        // This actor supervises no other.
        Ok(())
    }
}

impl Waiting {
    fn hand_over(&mut self, write: Write, submitted: Instant, settle: Settle) {
        let number = self.next;
        self.next += 1;
        let ticket = Ticket::default();
        let deadline = submitted + self.deadline;
        let queue = &self.queues[lane::of(&write, self.queues.len())];
        let item = Item {
            number,
            command: write.command,
            once: write.once,
            news: write.news,
            deadline,
        };
        match queue.try_send(Work::Write(item, ticket.clone())) {
            Ok(()) => {
                self.ports.insert(number, (settle, ticket));
                // At the end, unless the command has already waited elsewhere.
                let place = self
                    .deadlines
                    .partition_point(|(other, _)| *other <= deadline);
                self.deadlines.insert(place, (deadline, number));
            }
            Err(_) => {
                metrics::counter!("holdfast_writes_refused_total", "reason" => "queue_full")
                    .increment(1);
                settle.settle(Err(unavailable()));
            }
        }
    }

    fn settle(&mut self, answers: Vec<(u64, Answer)>) {
        for (number, answer) in answers {
            if let Some((settle, _)) = self.ports.remove(&number) {
                settle.settle(answer);
            }
        }
        while let Some((_, number)) = self.deadlines.front()
            && !self.ports.contains_key(number)
        {
            self.deadlines.pop_front();
        }
    }

    /// Refuses the commands that the writer has not taken by their deadline. It never will.
    fn cancel_late(&mut self, now: Instant) {
        while let Some((deadline, number)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            let is_cancelled = self
                .ports
                .get(&number)
                .is_some_and(|(_, ticket)| ticket.cancel());
            if is_cancelled && let Some((settle, _)) = self.ports.remove(&number) {
                metrics::counter!("holdfast_writes_refused_total", "reason" => "deadline")
                    .increment(1);
                settle.settle(Err(unavailable()));
            }
        }
    }

    fn run_timer(&mut self, myself: &ActorRef<PersistenceMessage>) {
        if let Some((deadline, _)) = self.deadlines.front()
            && self.timer.is_none_or(|timer| *deadline < timer)
        {
            let wait = deadline.saturating_duration_since(Instant::now());
            myself.send_after(wait, || PersistenceMessage::DeadlinePassed);
            self.timer = Some(*deadline);
        }
    }
}

/// Passes a job to the first writer, to run after everything queued in each lane. It waits for room in full queues:
/// their writers empty them, and the end of a run must not be lost for lack of room. The actor itself does not wait.
fn hand_over_job(queues: &[mpsc::Sender<Work>], job: Job) {
    let [first, others @ ..] = queues else {
        return;
    };
    let (first, others) = (first.clone(), others.to_vec());
    tokio::spawn(async move {
        let mut before = Vec::with_capacity(others.len());
        for queue in others {
            let (settle, settled) = oneshot::channel();
            // If the writer is gone this is dropped, which the first writer notices.
            let _ = queue.send(Work::Settle(settle)).await;
            before.push(settled);
        }
        // If the writer is gone the job is dropped with its reply, which ends the caller's wait.
        let _ = first.send(Work::Job(job, before)).await;
    });
}

pub(crate) fn unavailable() -> Refused {
    Refused::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

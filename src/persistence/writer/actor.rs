//! The shell: holds the reply ports and deadlines, and hands the commands to the writer tasks.
//!
//! A mailbox can neither drain a batch nor push back; so each writer has a bounded queue of its own.

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

/// After so long it is worth asking again: a full queue drains in less, a lost database may be back.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Starts and restarts the writing half of persistence.
#[derive(Debug)]
pub struct PersistenceActor;

impl PersistenceActor {
    /// Starts the writer under `supervisor`. After a failure, start it again with the same store: handles
    /// stay good, and it begins when the last one's writer has ended and its last group is settled.
    pub async fn start(store: &Store, supervisor: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Shell, store.shared.clone(), supervisor).await?;
        Ok(actor.get_cell())
    }
}

struct Shell;

/// The commands that wait for an answer.
struct Waiting {
    /// One for each lane.
    queues: Vec<mpsc::Sender<Work>>,
    deadline: Duration,
    next: u64,
    ports: HashMap<u64, (Settle, Ticket)>,
    /// The earliest first.
    deadlines: VecDeque<(Instant, u64)>,
    /// When the timer will tell that a deadline may have passed.
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
        // The shell supervises no actor.
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
                // At the end, unless the command has waited elsewhere before.
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

    /// Answers the commands that the writer has not taken by their deadline. It never will.
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

/// Gives a job to the first writer, behind what is queued in each lane. Full queues are waited for: their writers
/// empty them, and the end of a run must not be lost for want of room. The shell itself waits for none of it.
fn hand_over_job(queues: &[mpsc::Sender<Work>], job: Job) {
    let [first, others @ ..] = queues else {
        return;
    };
    let (first, others) = (first.clone(), others.to_vec());
    tokio::spawn(async move {
        let mut before = Vec::with_capacity(others.len());
        for queue in others {
            let (settle, settled) = oneshot::channel();
            // A writer that is gone drops it, which tells the first one.
            let _ = queue.send(Work::Settle(settle)).await;
            before.push(settled);
        }
        // A writer that is gone drops it with its reply, which tells the asker.
        let _ = first.send(Work::Job(job, before)).await;
    });
}

pub(crate) fn unavailable() -> Refused {
    Refused::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

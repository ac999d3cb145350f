//! What waits for the writer, and how each command is settled exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

use super::clean_stop::CleanStop;
use super::downtime::RunStart;
use crate::persistence::item::{Answer, Item};
use crate::persistence::{Committed, WriteError};

/// Everything a writer is asked to do, in the order of its queue.
pub(crate) enum Work {
    Write(Item, Ticket),
    /// For the first writer, once the others have settled what was queued with them before.
    Job(Job, Vec<Settled>),
    /// For the others.
    Settle(oneshot::Sender<()>),
}

/// Comes when another writer has settled everything that was queued with it before. Dropped, that writer is gone.
pub(crate) type Settled = oneshot::Receiver<()>;

/// What is done alone, after everything that was queued before it.
pub(crate) enum Job {
    /// Answers when everything queued before is settled.
    Barrier(oneshot::Sender<()>),
    BeginRun(oneshot::Sender<Result<RunStart, WriteError>>),
    OpenDoors(oneshot::Sender<Result<(), WriteError>>),
    CleanStop(CleanStop, oneshot::Sender<Result<(), WriteError>>),
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
    /// Answers when the marks are written too and the log is checkpointed.
    Drain(oneshot::Sender<()>),
}

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const CANCELLED: u8 = 2;

/// Decides between the writer, who takes a command, and its deadline, which cancels it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// For the writer: false if the command was cancelled before.
    pub(crate) fn take(&self) -> bool {
        self.decide(TAKEN)
    }

    /// For the deadline: false if the writer has taken the command before.
    pub(crate) fn cancel(&self) -> bool {
        self.decide(CANCELLED)
    }

    fn decide(&self, outcome: u8) -> bool {
        self.0
            .compare_exchange(QUEUED, outcome, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

type Then = Box<dyn FnOnce(Result<Committed, WriteError>) + Send>;

/// What is done with the answer. Dropped without one, it is told that the answer is lost.
pub(crate) struct Settle(Option<Then>);

impl Settle {
    pub(crate) fn new(then: impl FnOnce(Result<Committed, WriteError>) + Send + 'static) -> Settle {
        Settle(Some(Box::new(then)))
    }

    pub(crate) fn settle(mut self, answer: Answer) {
        if let Some(then) = self.0.take() {
            then(answer.map_err(WriteError::Refused));
        }
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(WriteError::Lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_either_taken_or_cancelled() {
        let ticket = Ticket::default();

        assert!(ticket.clone().take());
        assert!(!ticket.cancel());
    }

    #[test]
    fn a_reply_that_is_dropped_is_told_as_lost() {
        let (tell, told) = std::sync::mpsc::channel();

        drop(Settle::new(move |answer| tell.send(answer).unwrap()));

        assert_eq!(told.recv(), Ok(Err(WriteError::Lost)));
    }
}

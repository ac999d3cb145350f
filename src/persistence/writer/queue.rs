//! The queue of a writer, and how each command is settled exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

use super::clean_stop::CleanStop;
use super::downtime::Startup;
use crate::persistence::item::{Answer, Item};
use crate::persistence::{Committed, WriteError};

/// An entry in a writer's queue. Entries are carried out in order.
pub(crate) enum Work {
    Write(Item, Ticket),
    /// For the first writer, once the others have settled what was queued with them before.
    Job(Job, Vec<Settled>),
    /// For the other writers: completes when everything queued before is settled.
    Settle(oneshot::Sender<()>),
}

/// The signal that another writer has settled everything queued with it before. It fails if that writer is gone.
pub(crate) type Settled = oneshot::Receiver<()>;

/// A job that runs alone, after everything queued before it.
pub(crate) enum Job {
    /// Answers when everything queued before is settled.
    Barrier(oneshot::Sender<()>),
    BeginRun(oneshot::Sender<Result<Startup, WriteError>>),
    OpenDoors(oneshot::Sender<Result<(), WriteError>>),
    CleanStop(CleanStop, oneshot::Sender<Result<(), WriteError>>),
    /// Test hook: makes the writer fail.
    #[cfg(feature = "faults")]
    Panic,
    /// Answers when the coalesced writes are committed too and the log is checkpointed.
    Drain(oneshot::Sender<()>),
}

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const CANCELLED: u8 = 2;

/// The claim to a command: either the writer takes it, or its deadline cancels it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// Takes the command for the writer. False if it was cancelled before.
    pub(crate) fn take(&self) -> bool {
        self.decide(TAKEN)
    }

    /// Cancels the command at its deadline. False if the writer has taken it before.
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

/// The completion of a command. If it is dropped without an answer, it reports the answer as lost.
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

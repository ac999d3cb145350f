//! The publish queue of a durable stream: one batch or change is being written, and the rest waits for it.
//!
//! Nothing here is in the stream yet. A publication is delivered and acknowledged after its commit. A seat change
//! waits here as well: its events are written with it, and keep their place in the order.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ractor::RpcReplyPort;
use serde::{Deserialize, Serialize};

use super::queued_change::{InFlightChange, QueuedChange};
use super::stored::json;
use crate::clock::HubTime;
use crate::delivery::Outbound;
use crate::mailbox::answer;
use crate::persistence::NewPublication;
use crate::wire::{ClientInfo, Failure, PublishResult, Refusal, Tags};

/// Publications in one batch, and their bytes (a single publication may have more). A group of batches delays all
/// commits, so no room makes a long batch.
const BATCH_COUNT_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Waiting publications, and their bytes. A client waits for the answer to each, so this is the number of publishers
/// that one room keeps waiting. The next one is refused at once.
const WAITING_COUNT_MAX: usize = 1_024;
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Waiting room events, for which there is room even if no publication fits: the hub cannot retry them later. Beyond
/// this limit, which takes a flapping seat during a long outage, the newest are lost.
const NEWS_COUNT_MAX: usize = 2 * WAITING_COUNT_MAX;

/// The position of a publication. Stored with it if it has an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// 0 where the room keeps no history.
    pub offset: u64,
    pub epoch: Arc<str>,
}

/// The answer for which a publisher waits. If it is dropped because the room has failed, it reports an unknown
/// outcome: a retry might publish twice.
#[derive(Debug)]
pub(in crate::room) struct PublishReply(Option<Publisher>);

/// The sender of a publication.
#[derive(Debug)]
pub(in crate::room) enum Publisher {
    /// The hub or a game's server, which need the position.
    Caller(RpcReplyPort<Result<StreamPosition, Failure>>),
    /// A client, by its command `id`. The reply is queued here, so that the socket writes it together with the
    /// publication, which the client mostly receives as well.
    Client {
        id: u32,
        outbound: Outbound,
        reply: RpcReplyPort<Result<(), Failure>>,
    },
}

impl PublishReply {
    pub(in crate::room) fn new(publisher: Publisher) -> PublishReply {
        PublishReply(Some(publisher))
    }

    pub(in crate::room) fn settle(mut self, result: Result<StreamPosition, Failure>) {
        self.give(result);
    }

    fn give(&mut self, result: Result<StreamPosition, Failure>) {
        match self.0.take() {
            Some(Publisher::Caller(reply)) => answer(reply, result),
            Some(Publisher::Client {
                id,
                outbound,
                reply,
            }) => {
                let queued = result.map(|StreamPosition { .. }| {
                    // Full or closed: the client cannot receive the answer.
                    let _ = outbound.answer(id, &PublishResult {});
                });
                answer(reply, queued);
            }
            None => {}
        }
    }
}

impl Drop for PublishReply {
    fn drop(&mut self) {
        self.give(Err(Refusal::unavailable().into()));
    }
}

/// A publication that has no offset yet.
#[derive(Debug)]
pub(in crate::room) struct PublicationDraft {
    pub(in crate::room) data: Bytes,
    pub(in crate::room) info: Option<Arc<ClientInfo>>,
    pub(in crate::room) tags: Option<Arc<Tags>>,
    /// When the room accepted it.
    pub(in crate::room) time: HubTime,
    /// When the request was made.
    pub(in crate::room) since: Instant,
}

impl PublicationDraft {
    /// Converts to a row: client info and tags are written as JSON.
    pub(in crate::room) fn to_row(&self) -> NewPublication {
        NewPublication {
            data: self.data.clone(),
            info: self.info.as_deref().map(json),
            tags: self.tags.as_deref().map(json),
            time: self.time,
        }
    }
}

/// A draft and the reply to its publisher. Events of the hub itself have no reply.
#[derive(Debug)]
pub(in crate::room) struct Entry {
    pub(in crate::room) said: PublicationDraft,
    pub(in crate::room) reply: Option<PublishReply>,
    /// Its idempotency key, which is stored with it: such an entry is written alone.
    pub(in crate::room) key: Option<Arc<str>>,
}

impl Entry {
    fn is_news(&self) -> bool {
        self.reply.is_none()
    }
}

/// An entry or a change that waits for its turn.
#[derive(Debug)]
enum Step {
    Say(Entry),
    /// Written alone, so that a refusal concerns nothing else.
    Do(Box<QueuedChange>),
}

/// The publish queue of one durable stream.
#[derive(Debug, Default)]
pub(in crate::room) struct PublishQueue {
    batch: Vec<Entry>,
    /// When the batch was handed to persistence.
    began: Option<Instant>,
    /// A change that is being written, in place of a batch.
    doing: Option<InFlightChange>,
    waiting: VecDeque<Step>,
    waiting_bytes: usize,
    /// The number of entries to be written alone: they were refused together because of one of them.
    alone: usize,
}

impl PublishQueue {
    /// Queues an entry, or returns it if too many wait.
    pub(in crate::room) fn push(&mut self, entry: Entry) -> Result<(), Box<Entry>> {
        let bytes = self.waiting_bytes + entry.said.data.len();
        let is_full = if entry.is_news() {
            self.waiting.len() >= NEWS_COUNT_MAX
        } else {
            self.waiting.len() >= WAITING_COUNT_MAX || bytes > WAITING_BYTES_MAX
        };
        if is_full {
            return Err(Box::new(entry));
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(Step::Say(entry));
        Ok(())
    }

    /// Queues a change. A room has no more changes waiting than seats.
    pub(in crate::room) fn push_deed(&mut self, deed: QueuedChange) {
        self.waiting.push_back(Step::Do(Box::new(deed)));
    }

    /// Returns the change to be written next. None while a write is in progress.
    pub(in crate::room) fn next_deed(&mut self) -> Option<QueuedChange> {
        let is_next = matches!(self.waiting.front(), Some(Step::Do(_)));
        if !is_next || !self.batch.is_empty() || self.doing.is_some() {
            return None;
        }
        match self.waiting.pop_front()? {
            Step::Do(deed) => Some(*deed),
            Step::Say(_) => None,
        }
    }

    /// Records that a change is being written.
    pub(in crate::room) fn begin(&mut self, doing: InFlightChange) {
        self.doing = Some(doing);
    }

    /// Returns the change that was being written, now settled.
    pub(in crate::room) fn done(&mut self) -> Option<InFlightChange> {
        self.doing.take()
    }

    /// Returns the next batch to be written. None while a write is in progress, when nothing waits,
    /// and when a change is next.
    pub(in crate::room) fn next_batch(&mut self, now: Instant) -> Option<&[Entry]> {
        if !self.batch.is_empty() || self.doing.is_some() {
            return None;
        }
        let count_max = if self.alone > 0 { 1 } else { BATCH_COUNT_MAX };
        self.alone = self.alone.saturating_sub(1);
        let mut bytes = 0;
        while let Some(Step::Say(entry)) = self.waiting.front()
            && self.batch.len() < count_max
        {
            bytes += entry.said.data.len();
            let is_keyed = entry.key.is_some();
            if (bytes > BATCH_BYTES_MAX || is_keyed) && !self.batch.is_empty() {
                break;
            }
            self.waiting_bytes -= entry.said.data.len();
            if let Some(Step::Say(entry)) = self.waiting.pop_front() {
                self.batch.push(entry);
            }
            if is_keyed {
                break;
            }
        }
        self.began = Some(now);
        (!self.batch.is_empty()).then_some(&self.batch)
    }

    /// Returns the settled batch, and when it was handed to persistence.
    pub(in crate::room) fn settled(&mut self) -> (Vec<Entry>, Option<Instant>) {
        (mem::take(&mut self.batch), self.began.take())
    }

    /// Requeues the entries of a refused batch to be written one by one, so that only the bad one is refused.
    pub(in crate::room) fn retry_alone(&mut self, entries: Vec<Entry>) {
        self.alone = entries.len();
        self.put_back(entries);
    }

    /// Gives up all publications with a waiting publisher and all changes, because the database takes no
    /// writes. Keeps the room events.
    pub(in crate::room) fn give_up(
        &mut self,
        refused: Vec<Entry>,
    ) -> (Vec<Entry>, Vec<QueuedChange>) {
        self.put_back(refused);
        let (mut given_up, mut deeds) = (Vec::new(), Vec::new());
        self.waiting_bytes = 0;
        for step in mem::take(&mut self.waiting) {
            match step {
                Step::Do(deed) => deeds.push(*deed),
                Step::Say(entry) if !entry.is_news() => given_up.push(entry),
                Step::Say(entry) => {
                    self.waiting_bytes += entry.said.data.len();
                    self.waiting.push_back(Step::Say(entry));
                }
            }
        }
        (given_up, deeds)
    }

    /// Removes everything that waits for its turn, and returns the changes.
    pub(in crate::room) fn take_deeds(&mut self) -> Vec<QueuedChange> {
        let steps = mem::take(&mut self.waiting).into_iter();
        let deeds = steps.filter_map(|step| match step {
            Step::Do(deed) => Some(*deed),
            Step::Say(_) => None,
        });
        deeds.collect()
    }

    /// Returns whether nothing is being written and nothing waits.
    pub(in crate::room) fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.doing.is_none() && self.waiting.is_empty()
    }

    fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.waiting_bytes += entry.said.data.len();
            self.waiting.push_front(Step::Say(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RoomId;
    use crate::persistence::{MaintenanceCommand, News, StreamId};
    use crate::room::message::Change;

    fn said(size: usize) -> PublicationDraft {
        PublicationDraft {
            data: vec![b'1'; size].into(),
            info: None,
            tags: None,
            time: HubTime(0),
            since: Instant::now(),
        }
    }

    fn news() -> Entry {
        Entry {
            said: said(1),
            reply: None,
            key: None,
        }
    }

    fn spoken(size: usize) -> Entry {
        Entry {
            said: said(size),
            reply: Some(PublishReply(None)),
            key: None,
        }
    }

    fn next(journal: &mut PublishQueue) -> usize {
        journal.next_batch(Instant::now()).map_or(0, <[Entry]>::len)
    }

    #[test]
    fn what_is_said_while_a_batch_is_written_goes_in_the_next() {
        let mut journal = PublishQueue::default();
        journal.push(spoken(1)).unwrap();
        assert_eq!(next(&mut journal), 1);
        journal.push(news()).unwrap();
        journal.push(spoken(1)).unwrap();

        assert_eq!(next(&mut journal), 0);
        assert_eq!(journal.settled().0.len(), 1);
        assert_eq!(next(&mut journal), 2);
        journal.settled();
        assert!(journal.is_idle());
    }

    #[test]
    fn a_batch_is_bounded_by_count_and_bytes_and_one_alone_may_be_large() {
        let mut journal = PublishQueue::default();
        for size in [BATCH_BYTES_MAX + 1, BATCH_BYTES_MAX - 1, 2] {
            journal.push(spoken(size)).unwrap();
        }
        for _ in 0..BATCH_COUNT_MAX {
            journal.push(spoken(1)).unwrap();
        }

        for count in [1, 1, BATCH_COUNT_MAX, 1] {
            assert_eq!(next(&mut journal), count);
            journal.settled();
        }
        assert_eq!(journal.waiting_bytes, 0);
    }

    #[test]
    fn what_has_a_key_goes_alone() {
        let mut journal = PublishQueue::default();
        let keyed = || Entry {
            key: Some("k".into()),
            ..spoken(1)
        };
        for entry in [spoken(1), spoken(1), keyed(), keyed(), spoken(1), spoken(1)] {
            journal.push(entry).unwrap();
        }

        for count in [2, 1, 1, 2] {
            assert_eq!(next(&mut journal), count);
            journal.settled();
        }
        assert!(journal.is_idle());
    }

    #[test]
    fn too_many_that_wait_are_turned_away_at_once_but_not_the_news() {
        let mut journal = PublishQueue::default();
        for _ in 0..WAITING_COUNT_MAX {
            journal.push(spoken(1)).unwrap();
        }
        assert!(journal.push(spoken(1)).is_err());
        journal.push(news()).unwrap();

        let mut journal = PublishQueue::default();
        journal.push(spoken(WAITING_BYTES_MAX)).unwrap();
        assert!(journal.push(spoken(1)).is_err());
        for _ in 1..NEWS_COUNT_MAX {
            journal.push(news()).unwrap();
        }
        assert!(journal.push(news()).is_err());
    }

    #[test]
    fn without_a_database_publishers_are_given_up_and_news_are_kept_in_order() {
        let mut journal = PublishQueue::default();
        journal.push(news()).unwrap();
        journal.push(spoken(1)).unwrap();
        assert_eq!(next(&mut journal), 2);
        journal.push(spoken(5)).unwrap();
        journal.push(news()).unwrap();
        let (refused, _) = journal.settled();

        assert_eq!(journal.give_up(refused).0.len(), 2);

        assert_eq!(journal.waiting_bytes, 2);
        assert_eq!(next(&mut journal), 2);
    }

    #[test]
    fn a_batch_that_was_refused_for_one_of_its_entries_goes_one_by_one() {
        let mut journal = PublishQueue::default();
        for _ in 0..3 {
            journal.push(spoken(1)).unwrap();
        }
        assert_eq!(next(&mut journal), 3);
        journal.push(spoken(1)).unwrap();
        journal.push(spoken(1)).unwrap();
        let (refused, _) = journal.settled();

        journal.retry_alone(refused);

        for count in [1, 1, 1, 2] {
            assert_eq!(next(&mut journal), count);
            journal.settled();
        }
        assert!(journal.is_idle());
    }

    fn deed() -> QueuedChange {
        QueuedChange {
            write: MaintenanceCommand::Nothing.into(),
            change: Change::Close,
            since: Instant::now(),
        }
    }

    fn doing() -> InFlightChange {
        InFlightChange {
            news: News {
                stream: StreamId {
                    room: RoomId::new(),
                    epoch: "e".into(),
                    begins_after: None,
                },
                events: Vec::new(),
                time: HubTime(0),
            },
            since: Instant::now(),
        }
    }

    #[test]
    fn a_change_goes_alone_between_what_was_said_before_it_and_after_it() {
        let mut journal = PublishQueue::default();
        journal.push(spoken(1)).unwrap();
        journal.push(news()).unwrap();
        journal.push_deed(deed());
        journal.push_deed(deed());
        journal.push(spoken(1)).unwrap();

        assert_eq!(next(&mut journal), 2);
        assert!(journal.next_deed().is_none());
        journal.settled();
        for _ in 0..2 {
            assert_eq!(next(&mut journal), 0);
            assert!(journal.next_deed().is_some());
            journal.begin(doing());
            assert!(journal.next_deed().is_none() && !journal.is_idle());
            assert_eq!(next(&mut journal), 0);
            assert!(journal.done().is_some());
        }
        assert_eq!(next(&mut journal), 1);
        journal.settled();
        assert!(journal.is_idle());
    }

    #[test]
    fn without_a_database_what_was_to_be_changed_is_given_up() {
        let mut journal = PublishQueue::default();
        journal.push(spoken(1)).unwrap();
        assert_eq!(next(&mut journal), 1);
        journal.push(news()).unwrap();
        journal.push_deed(deed());
        journal.push(news()).unwrap();
        let (refused, _) = journal.settled();

        let (replies, deeds) = journal.give_up(refused);

        assert_eq!((replies.len(), deeds.len()), (1, 1));
        assert_eq!(next(&mut journal), 2);
    }

    #[test]
    fn changes_that_wait_can_be_taken_out() {
        let mut journal = PublishQueue::default();
        journal.push(news()).unwrap();
        journal.push_deed(deed());

        assert_eq!(journal.take_deeds().len(), 1);
        assert!(journal.is_idle());
    }
}

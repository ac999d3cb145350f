//! Publishing: at once into a memory stream, after a commit into a durable one.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::persistence::{Committed, Publish, Refused, StoredResponse, StreamCommand, Write};
use crate::room::core::seat::claim::refusal;
use crate::room::core::stream::history_loader::PRUNE_AT;
use crate::room::core::{Contradiction, Room};
use crate::room::message::{Change, Wake};
use crate::room::rules::publish_dedup;
use crate::room::rules::publish_queue::{Entry, PublicationDraft, PublishReply, StreamPosition};
use crate::wire::{Failure, Reason, Refusal, RoomEvent, hub_tags};

/// The wait before room events that could not be written are tried again.
const NEWS_RETRY: Duration = Duration::from_secs(1);

impl Room {
    /// Publishes a draft; in a durable stream it has its place once it is committed.
    pub(in crate::room) fn say(&mut self, said: PublicationDraft, reply: Option<PublishReply>) {
        let key = None;
        self.enter(Entry { said, reply, key });
    }

    pub(in crate::room) fn enter(&mut self, entry: Entry) {
        if !self.stream.is_durable() {
            return self.deliver(entry);
        }
        match self.journal.push(entry) {
            Ok(()) => self.write_batch(),
            Err(refused) if refused.reply.is_none() => {
                error!(room = %self.identity.channel, "room events are lost: too many wait for the database");
            }
            Err(refused) => {
                self.shared.metrics.batch_full.increment(1);
                let detail = "too many publications of this room wait for the database";
                let failure = Refusal::new(Reason::Unavailable, detail).into();
                self.settle_publication(refused.key, refused.reply, Err(failure));
            }
        }
    }

    /// Answers the publisher, and everybody who has published under the same key meanwhile.
    pub(in crate::room) fn settle_publication(
        &mut self,
        key: Option<Arc<str>>,
        reply: Option<PublishReply>,
        result: Result<StreamPosition, Failure>,
    ) {
        if let Some(key) = key {
            for waiting in self.repeats.settle(&key, &result) {
                self.answer_publisher(waiting, result.clone());
            }
        }
        if let Some(reply) = reply {
            self.answer_publisher(reply, result);
        }
    }

    /// Publishes an event of a seat or of the room.
    pub(in crate::room) fn announce(&mut self, event: &RoomEvent) {
        let said = PublicationDraft {
            data: event.to_json(),
            info: None,
            tags: Some(hub_tags()),
            time: self.now(),
            since: self.now.at,
        };
        self.say(said, None);
    }

    /// Writes the next batch, unless a write is in progress.
    pub(in crate::room) fn write_batch(&mut self) {
        let Some(room) = self.id() else {
            return;
        };
        let now = self.now.at;
        let Some(batch) = self.journal.next_batch(now) else {
            return self.write_deed();
        };
        self.shared.metrics.batch_size.record(count(batch.len()));
        let publishers = batch.iter().filter(|entry| entry.reply.is_some());
        let oldest = publishers.map(|entry| entry.said.since).min();
        let publish = StreamCommand::Publish(Publish {
            stream: self.stream.id(room),
            publications: batch.iter().map(|entry| entry.said.to_row()).collect(),
        });
        let key = batch.first().and_then(|entry| entry.key.as_deref());
        let once = key.map(|key| {
            let placed = StreamPosition {
                offset: self.stream.top() + 1,
                epoch: Arc::clone(self.stream.epoch()),
            };
            publish_dedup::stored(room, key, &placed)
        });
        let write = Write::once(publish, once);
        self.write_since(write, Change::Publish, oldest.unwrap_or(now));
    }

    pub(in crate::room) fn batch_committed(
        &mut self,
        committed: Committed,
    ) -> Result<(), Contradiction> {
        let (entries, began) = self.journal.settled();
        let expected = self.stream.top() + 1;
        if committed != (Committed::Published { first: expected }) {
            return Err(format!("{committed:?} of a stream whose next is {expected}").into());
        }
        self.stream.begun();
        self.write_batch();
        let metrics = &self.shared.metrics;
        metrics.batches_committed.increment(1);
        if let Some(began) = began {
            metrics
                .batch_duration
                .record(self.now.at.duration_since(began));
        }
        for entry in entries {
            self.deliver(entry);
        }
        self.prune(PRUNE_AT);
        self.finish_close_if_told();
        Ok(())
    }

    pub(in crate::room) fn batch_refused(
        &mut self,
        refused: &Refused,
    ) -> Result<(), Contradiction> {
        let (entries, _) = self.journal.settled();
        if let Refused::Repeated(kept) = refused {
            self.repeated(entries, kept);
            return Ok(());
        }
        self.shared.metrics.batches_refused.increment(1);
        if *refused == Refused::StreamChanged {
            return Err("the stream is another one in the database".into());
        }
        if matches!(refused, Refused::Unavailable { .. }) {
            let (given_up, deeds) = self.journal.give_up(entries);
            for entry in given_up {
                self.settle_publication(entry.key, entry.reply, Err(refusal(refused).into()));
            }
            self.give_up(deeds, refused)?;
            if !self.journal.is_idle() {
                self.wake(NEWS_RETRY, Wake::Write);
            }
        } else if entries.len() > 1 {
            self.journal.retry_alone(entries);
            self.write_batch();
        } else {
            for entry in entries {
                if entry.reply.is_none() {
                    error!(room = %self.identity.channel, "refused room events are lost");
                }
                self.settle_publication(entry.key, entry.reply, Err(refusal(refused).into()));
            }
            self.write_batch();
        }
        self.finish_close_if_told();
        Ok(())
    }

    /// Replays the stored response of a key: the publication was committed before this room was started.
    fn repeated(&mut self, entries: Vec<Entry>, kept: &StoredResponse) {
        metrics::counter!("holdfast_commands_repeated_total").increment(1);
        let placed: Option<StreamPosition> = serde_json::from_str(&kept.answer).ok();
        let result = placed.ok_or_else(|| Refusal::unavailable().into());
        for entry in entries {
            self.settle_publication(entry.key, entry.reply, result.clone());
        }
        self.write_batch();
        self.finish_close_if_told();
    }

    /// Numbers a draft, queues it for every member, and answers its publisher.
    pub(in crate::room) fn deliver(&mut self, Entry { said, reply, key }: Entry) {
        let since = said.since;
        let mut publication = self.stream.append(said, self.now());
        self.show_time(&mut publication);
        self.spread(&publication, since);
        if reply.is_some() {
            let placed = StreamPosition {
                offset: publication.offset,
                epoch: Arc::clone(self.stream.epoch()),
            };
            self.settle_publication(key, reply, Ok(placed));
        }
    }
}

fn count(number: usize) -> f64 {
    // A batch has a few hundred entries at most.
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

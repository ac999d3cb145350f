//! Publishing: at once into a memory stream, after a commit into a durable one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::ActorProcessingErr;
use tracing::error;

use super::Room;
use super::claim::refusal;
use super::history_loader::PRUNE_AT;
use crate::persistence::{Committed, Publish, Refused, StoredResponse, StreamCommand, Write};
use crate::room::message::{Change, RoomMessage, Wake};
use crate::room::rules::publish_dedup;
use crate::room::rules::publish_queue::{Entry, PublicationDraft, PublishReply, StreamPosition};
use crate::wire::RoomEvent;
use crate::wire::{Reason, Refusal, hub_tags};

/// The wait before room events that could not be written are tried again.
const NEWS_RETRY: Duration = Duration::from_secs(1);

impl Room {
    /// Publishes a draft; in a durable stream it has its place once it is committed.
    pub(super) fn say(&mut self, said: PublicationDraft, reply: Option<PublishReply>) {
        let key = None;
        self.enter(Entry { said, reply, key });
    }

    pub(in crate::room) fn enter(&mut self, entry: Entry) {
        if !self.stream.is_durable() {
            return self.deliver(entry.said, entry.reply);
        }
        match self.journal.push(entry) {
            Ok(()) => self.write_batch(),
            Err(None) => {
                error!(room = %self.channel, "room events are lost: too many wait for the database");
            }
            Err(Some(reply)) => {
                self.context.metrics.batch_full.increment(1);
                let detail = "too many publications of this room wait for the database";
                reply.settle(Err(Refusal::new(Reason::Unavailable, detail).into()));
            }
        }
    }

    /// Publishes an event of a seat or of the room.
    pub(super) fn announce(&mut self, event: &RoomEvent) {
        let said = PublicationDraft {
            data: event.to_json(),
            info: None,
            tags: Some(hub_tags()),
            time: self.now(),
            since: Instant::now(),
        };
        self.say(said, None);
    }

    /// Writes the next batch, unless a write is in progress.
    pub(in crate::room) fn write_batch(&mut self) {
        let Some(profile) = &self.profile else {
            return;
        };
        let now = Instant::now();
        let Some(batch) = self.journal.next_batch(now) else {
            return self.write_deed();
        };
        self.context.metrics.batch_size.record(count(batch.len()));
        let publishers = batch.iter().filter(|entry| entry.reply.is_some());
        let oldest = publishers.map(|entry| entry.said.since).min();
        let publish = StreamCommand::Publish(Publish {
            stream: self.stream.id(profile.id),
            publications: batch.iter().map(|entry| entry.said.to_row()).collect(),
        });
        let key = batch.first().and_then(|entry| entry.key.as_deref());
        let once = key.map(|key| {
            let placed = StreamPosition {
                offset: self.stream.top() + 1,
                epoch: Arc::clone(self.stream.epoch()),
            };
            publish_dedup::stored(profile.id, key, &placed)
        });
        let publish = Write::once(publish, once);
        let me = self.me.clone();
        self.context.persistence.write_since(
            publish,
            oldest.unwrap_or(now).into(),
            move |result| {
                let change = Change::Publish;
                // An error means that the room has since been rebuilt from the database.
                let _ = me.cast(RoomMessage::Settled { change, result });
            },
        );
    }

    pub(super) async fn batch_committed(
        &mut self,
        committed: Committed,
    ) -> Result<(), ActorProcessingErr> {
        let (entries, began) = self.journal.settled();
        let expected = self.stream.top() + 1;
        if committed != (Committed::Published { first: expected }) {
            return Err(format!("{committed:?} of a stream whose next is {expected}").into());
        }
        self.stream.begun();
        self.write_batch();
        let metrics = &self.context.metrics;
        metrics.batches_committed.increment(1);
        if let Some(began) = began {
            metrics.batch_duration.record(began.elapsed());
        }
        for entry in entries {
            self.deliver(entry.said, entry.reply);
        }
        self.prune(PRUNE_AT).await;
        self.finish_close_if_told();
        Ok(())
    }

    pub(super) async fn batch_refused(
        &mut self,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        let (entries, _) = self.journal.settled();
        if let Refused::Repeated(kept) = refused {
            self.repeated(entries, kept);
            return Ok(());
        }
        self.context.metrics.batches_refused.increment(1);
        match refused {
            Refused::StreamChanged => {
                return Err("the stream is another one in the database".into());
            }
            Refused::Unavailable { .. } => {
                let (replies, deeds) = self.journal.give_up(entries);
                for reply in replies {
                    reply.settle(Err(refusal(refused).into()));
                }
                self.give_up(deeds, refused).await?;
                if !self.journal.is_idle() {
                    self.wake(NEWS_RETRY, Wake::Write).await;
                }
            }
            Refused::InvalidUser
            | Refused::SessionEnded
            | Refused::SeatChanged
            | Refused::RoomChanged
            | Refused::InsufficientCredits { .. }
            | Refused::TooManySeats { .. }
            | Refused::NotGuest
            | Refused::AlreadySeated
            | Refused::CodeTaken
            | Refused::SeatTaken
            | Refused::Repeated(_)
            | Refused::KeyReused
            | Refused::Internal
                if entries.len() > 1 =>
            {
                self.journal.retry_alone(entries);
                self.write_batch();
            }
            Refused::InvalidUser
            | Refused::SessionEnded
            | Refused::SeatChanged
            | Refused::RoomChanged
            | Refused::InsufficientCredits { .. }
            | Refused::TooManySeats { .. }
            | Refused::NotGuest
            | Refused::AlreadySeated
            | Refused::CodeTaken
            | Refused::SeatTaken
            | Refused::Repeated(_)
            | Refused::KeyReused
            | Refused::Internal => {
                for entry in entries {
                    match entry.reply {
                        Some(reply) => reply.settle(Err(refusal(refused).into())),
                        None => error!(room = %self.channel, "refused room events are lost"),
                    }
                }
                self.write_batch();
            }
        }
        self.finish_close_if_told();
        Ok(())
    }

    /// Replays the stored response of a key: the publication was committed before this room was started.
    fn repeated(&mut self, entries: Vec<Entry>, kept: &StoredResponse) {
        metrics::counter!("holdfast_commands_repeated_total").increment(1);
        let placed: Option<StreamPosition> = serde_json::from_str(&kept.answer).ok();
        let result = placed.ok_or_else(|| Refusal::unavailable().into());
        for reply in entries.into_iter().filter_map(|entry| entry.reply) {
            reply.settle(result.clone());
        }
        self.write_batch();
        self.finish_close_if_told();
    }

    /// Numbers a draft, queues it for every member, and answers its publisher.
    pub(super) fn deliver(&mut self, said: PublicationDraft, reply: Option<PublishReply>) {
        let since = said.since;
        let mut publication = self.stream.append(said, self.context.clock.now());
        self.show_time(&mut publication);
        self.spread(&publication, since);
        if let Some(reply) = reply {
            reply.settle(Ok(StreamPosition {
                offset: publication.offset,
                epoch: Arc::clone(self.stream.epoch()),
            }));
        }
    }
}

fn count(number: usize) -> f64 {
    // A batch has a few hundred entries at most.
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

//! Answers the questions of a game's own server about one room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::RpcReplyPort;
use tokio::sync::OwnedSemaphorePermit;

use crate::clock::HubTime;
use crate::room::core::{Phase, Room};
use crate::room::message::Wake;
use crate::room::rules::publish_dedup::KNOWN_FOR;
use crate::room::rules::publish_queue::{
    Entry, PublicationDraft, PublishReply, Publisher, StreamPosition,
};
use crate::room::server_api::ServerPublication;
use crate::wire::{
    ErrorCode, Failure, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult,
    Publication, Reason, Refusal,
};

/// The most of a history in one answer: a game's server reads it whole before it reads on.
const HISTORY_BYTES_MAX: usize = 4 << 20;

/// A request of the game's server to one room.
pub(in crate::room) enum ServerRequest {
    Publish {
        word: ServerPublication,
        /// When the room was asked.
        since: Instant,
        reply: RpcReplyPort<Result<StreamPosition, Failure>>,
    },
    Presence {
        reply: RpcReplyPort<Result<PresenceResult, Failure>>,
    },
    PresenceStats {
        reply: RpcReplyPort<Result<PresenceStatsResult, Failure>>,
    },
    History {
        request: HistoryRequest,
        reply: RpcReplyPort<Result<HistoryResult, Failure>>,
    },
}

/// Keeps an open channel to which nobody listens.
#[derive(Debug)]
pub(in crate::room) struct Keep {
    until: HubTime,
    _place: OwnedSemaphorePermit,
}

impl Room {
    pub(in crate::room) fn refuse_game(&mut self, request: ServerRequest, failure: Failure) {
        match request {
            ServerRequest::Publish { reply, .. } => {
                let reply = PublishReply::new(Publisher::Caller(reply));
                self.answer_publisher(reply, Err(failure));
            }
            ServerRequest::Presence { reply } => self.answer(reply, Err(failure)),
            ServerRequest::PresenceStats { reply } => self.answer(reply, Err(failure)),
            ServerRequest::History { reply, .. } => self.answer(reply, Err(failure)),
        }
    }

    pub(in crate::room) fn answer_game(&mut self, question: ServerRequest) {
        match question {
            ServerRequest::Publish { word, since, reply } => {
                self.hear_game(word, since, PublishReply::new(Publisher::Caller(reply)));
            }
            ServerRequest::Presence { reply } => {
                let presence = self.present(Room::presence);
                self.answer(reply, presence);
            }
            ServerRequest::PresenceStats { reply } => {
                let stats = self.present(Room::presence_stats);
                self.answer(reply, stats);
            }
            ServerRequest::History { request, reply } => {
                let page = self.history(&request, HISTORY_BYTES_MAX);
                self.answer(reply, page.map_err(Failure::from));
            }
        }
        self.rest_if_unheard();
    }

    fn present<T>(&self, look: impl Fn(&Room) -> T) -> Result<T, Failure> {
        match self.identity.kind.config.presence {
            true => Ok(look(self)),
            false => Err(ErrorCode::NotAvailable.into()),
        }
    }

    fn hear_game(&mut self, word: ServerPublication, since: Instant, reply: PublishReply) {
        if let Err(refusal) = self.check_takes_words() {
            return self.answer_publisher(reply, Err(refusal.into()));
        }
        let now = self.now();
        let is_keyed = word.key.is_some();
        let first = match &word.key {
            Some(key) => self.repeats.take(Arc::clone(key), reply, now),
            None => Some(reply),
        };
        if let Some(reply) = first {
            let is_kept = self.stream.has_history() && !word.is_passing;
            let said = PublicationDraft {
                data: word.data,
                info: None,
                tags: word.tags,
                time: now,
                since,
            };
            match word.is_passing {
                true => self.pass_on(said, word.key, reply),
                false => self.enter(Entry {
                    said,
                    reply: Some(reply),
                    key: word.key,
                }),
            }
            let history = is_kept.then_some(self.identity.kind.config.history_ttl);
            let key = is_keyed.then_some(KNOWN_FOR);
            self.keep_for(history.max(key).unwrap_or_default());
        }
    }

    fn check_takes_words(&self) -> Result<(), Refusal> {
        if self.is_frozen() && self.identity.profile.is_some() {
            return Err(Refusal::stopping());
        }
        match self.life.phase {
            Phase::Open | Phase::Retired => Ok(()),
            Phase::Closing | Phase::Closed => {
                Err(Refusal::new(Reason::RoomClosed, "the room is closed"))
            }
        }
    }

    /// Delivers something to those who listen now.
    fn pass_on(&mut self, said: PublicationDraft, key: Option<Arc<str>>, reply: PublishReply) {
        let mut publication = Publication {
            offset: 0,
            data: said.data,
            info: said.info,
            tags: said.tags,
            time: said.time,
        };
        self.show_time(&mut publication);
        self.spread(&publication, said.since);
        let epoch = Arc::clone(self.stream.epoch());
        self.settle_publication(key, Some(reply), Ok(StreamPosition { offset: 0, epoch }));
    }

    /// Keeps an open channel although nobody listens to it: for what was said, and for its key.
    fn keep_for(&mut self, wait: Duration) {
        if wait.is_zero() || !self.identity.kind.is_open_channel() {
            return;
        }
        let until = self.now().plus(wait);
        if let Some(keep) = &mut self.life.keep {
            keep.until = keep.until.max(until);
        } else if let Ok(place) = Arc::clone(&self.shared.unheard).try_acquire_owned() {
            self.life.keep = Some(Keep {
                until,
                _place: place,
            });
            self.wake(wait, Wake::Rest);
        }
    }

    /// The time for which the channel was kept may be over. Says whether it is.
    pub(in crate::room) fn is_kept_no_longer(&mut self) -> bool {
        let now = self.now();
        match &self.life.keep {
            Some(keep) if keep.until > now => {
                let left = keep.until.since(now);
                self.wake(left, Wake::Rest);
                false
            }
            Some(_) | None => {
                self.life.keep = None;
                true
            }
        }
    }
}

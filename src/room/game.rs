//! What a game's own server does in rooms: it speaks, looks, and has the past forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::RpcReplyPort;
use tokio::sync::OwnedSemaphorePermit;

use super::brood::Rooms;
use super::handle::RoomHandle;
use super::journal::{Entry, Placed, PublishReply, Publisher, Said};
use super::message::{RoomMessage, Wake};
use super::repeat::KNOWN_FOR;
use super::state::{Phase, Room};
use crate::clock::HubTime;
use crate::mailbox::{Unanswered, answer, ask};
use crate::supervisor::LoadError;
use crate::wire::{
    ErrorCode, Failure, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult,
    Publication, Reason, Refusal, Tags,
};

/// Open channels of this node that nobody listens to and that keep what a game's server said. At most a gigabyte
/// with the histories that ship; beyond it, what is said to nobody is forgotten.
pub(super) const UNHEARD_MAX: usize = 4_096;

/// The most of a history in one answer: a game's server reads it whole before it reads on.
const HISTORY_BYTES_MAX: usize = 4 << 20;

/// Something that a game's server says.
#[derive(Debug, Clone)]
pub struct Word {
    /// Valid JSON on one line.
    pub data: Bytes,
    pub tags: Option<Arc<Tags>>,
    /// For those who listen now: it has no place in the stream.
    pub is_passing: bool,
    /// Says that two of them are one.
    pub key: Option<Arc<str>>,
}

/// What a game's server asks a room.
pub(super) enum GameQuestion {
    Publish {
        word: Word,
        /// When the room was asked.
        since: Instant,
        reply: RpcReplyPort<Result<Placed, Failure>>,
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

impl GameQuestion {
    pub(super) fn refuse(self, failure: Failure) {
        match self {
            GameQuestion::Publish { reply, .. } => answer(reply, Err(failure)),
            GameQuestion::Presence { reply } => answer(reply, Err(failure)),
            GameQuestion::PresenceStats { reply } => answer(reply, Err(failure)),
            GameQuestion::History { reply, .. } => answer(reply, Err(failure)),
        }
    }
}

/// Keeps an open channel to which nobody listens.
#[derive(Debug)]
pub(super) struct Keep {
    until: HubTime,
    _place: OwnedSemaphorePermit,
}

impl Rooms {
    /// Publishes to a channel; a room with seats is started for it. Delivered when this returns, and committed if
    /// the stream is durable.
    ///
    /// # Errors
    /// 107 for what is no channel's name, 102 if there is none by it, 1003 for a room that is closed, 100.
    pub async fn publish(&self, channel: &str, word: Word) -> Result<Placed, Failure> {
        self.ask_game(channel, |reply| GameQuestion::Publish {
            word: word.clone(),
            since: Instant::now(),
            reply,
        })
        .await
    }

    /// Who is in a channel.
    ///
    /// # Errors
    /// 108 where the kind has no presence; 102, 107, 100.
    pub async fn presence(&self, channel: &str) -> Result<PresenceResult, Failure> {
        self.ask_game(channel, |reply| GameQuestion::Presence { reply })
            .await
    }

    /// How many are in a channel.
    ///
    /// # Errors
    /// As of [`Rooms::presence`].
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceStatsResult, Failure> {
        self.ask_game(channel, |reply| GameQuestion::PresenceStats { reply })
            .await
    }

    /// What was said in a channel.
    ///
    /// # Errors
    /// 108 where the kind keeps no history, 112 for another epoch; 102, 107, 100.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryResult, Failure> {
        self.ask_game(&request.channel, |reply| GameQuestion::History {
            request: request.clone(),
            reply,
        })
        .await
    }

    /// Forgets what was said in a channel; its epoch and the numbers given stay.
    ///
    /// # Errors
    /// As of [`Rooms::history`].
    pub async fn remove_history(&self, channel: &str) -> Result<(), Failure> {
        self.ask_channel(channel, |room| async move { room.remove_history().await })
            .await
    }

    /// The channels that somebody hears, and how many do.
    pub fn heard(&self) -> Vec<(Arc<str>, usize)> {
        let rooms = self.all().into_iter();
        let heard = rooms.map(|room| (Arc::clone(room.channel()), room.audience()));
        heard.filter(|(_, audience)| *audience > 0).collect()
    }

    async fn ask_game<T: Send + 'static>(
        &self,
        channel: &str,
        question: impl Fn(RpcReplyPort<Result<T, Failure>>) -> GameQuestion,
    ) -> Result<T, Failure> {
        self.ask_channel(channel, |room| {
            let question = &question;
            async move {
                let message = |reply| RoomMessage::Game(Box::new(question(reply)));
                ask(&room.actor, message).await
            }
        })
        .await
    }

    /// Asks the room of a channel.
    async fn ask_channel<T, F>(
        &self,
        channel: &str,
        question: impl Fn(RoomHandle) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Result<T, Failure>, Unanswered>>,
    {
        let key = self.kinds().room_key(channel)?;
        let found = self.ask(&key, |room| {
            // The code may be that of a room of another kind.
            let asked = (**room.channel() == *channel).then(|| question(room));
            async move {
                match asked {
                    Some(asked) => asked.await.map(Some),
                    None => Ok(None),
                }
            }
        });
        let found = found.await.map_err(|LoadError| ErrorCode::Internal)?;
        found.flatten().ok_or(ErrorCode::UnknownChannel)?
    }
}

impl Room {
    pub(super) async fn answer_game(&mut self, question: GameQuestion) {
        match question {
            GameQuestion::Publish { word, since, reply } => {
                self.hear_game(word, since, PublishReply::new(Publisher::Caller(reply)))
                    .await;
            }
            GameQuestion::Presence { reply } => answer(reply, self.present(Room::presence)),
            GameQuestion::PresenceStats { reply } => {
                answer(reply, self.present(Room::presence_stats));
            }
            GameQuestion::History { request, reply } => {
                let page = self.history(&request, HISTORY_BYTES_MAX);
                answer(reply, page.map_err(Failure::from));
            }
        }
        self.rest_if_unheard();
    }

    fn present<T>(&self, look: impl Fn(&Room) -> T) -> Result<T, Failure> {
        match self.kind.config.presence {
            true => Ok(look(self)),
            false => Err(ErrorCode::NotAvailable.into()),
        }
    }

    async fn hear_game(&mut self, word: Word, since: Instant, reply: PublishReply) {
        if let Err(refusal) = self.check_takes_words() {
            return reply.settle(Err(refusal.into()));
        }
        let now = self.now();
        let is_keyed = word.key.is_some();
        let first = match &word.key {
            Some(key) => self.repeats.take(Arc::clone(key), reply, now),
            None => Some(reply),
        };
        if let Some(reply) = first {
            let is_kept = self.stream.has_history() && !word.is_passing;
            let said = Said {
                data: word.data,
                info: None,
                tags: word.tags,
                time: now,
                since,
            };
            match word.is_passing {
                true => self.pass_on(said, reply),
                false => self.enter(Entry {
                    said,
                    reply: Some(reply),
                    key: word.key,
                }),
            }
            let history = is_kept.then_some(self.kind.config.history_ttl);
            let key = is_keyed.then_some(KNOWN_FOR);
            self.keep_for(history.max(key).unwrap_or_default()).await;
        }
    }

    fn check_takes_words(&self) -> Result<(), Refusal> {
        if self.is_frozen() && self.profile.is_some() {
            return Err(Refusal::stopping());
        }
        match self.phase {
            Phase::Open | Phase::Retired => Ok(()),
            Phase::Closing | Phase::Closed => {
                Err(Refusal::new(Reason::RoomClosed, "the room is closed"))
            }
        }
    }

    /// Delivers something to those who listen now.
    fn pass_on(&mut self, said: Said, reply: PublishReply) {
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
        reply.settle(Ok(Placed { offset: 0, epoch }));
    }

    /// Keeps an open channel although nobody listens to it: for what was said, and for its key.
    async fn keep_for(&mut self, wait: Duration) {
        if wait.is_zero() || !self.kind.is_open_channel() {
            return;
        }
        let until = self.now().plus(wait);
        if let Some(keep) = &mut self.keep {
            keep.until = keep.until.max(until);
        } else if let Ok(place) = Arc::clone(&self.context.unheard).try_acquire_owned() {
            self.keep = Some(Keep {
                until,
                _place: place,
            });
            self.wake(wait, Wake::Rest).await;
        }
    }

    /// The time for which the channel was kept may be over. Says whether it is.
    pub(super) async fn is_kept_no_longer(&mut self) -> bool {
        let now = self.now();
        match &self.keep {
            Some(keep) if keep.until > now => {
                let left = keep.until.since(now);
                self.wake(left, Wake::Rest).await;
                false
            }
            Some(_) | None => {
                self.keep = None;
                true
            }
        }
    }
}

//! Server API in rooms: publish, presence, history and its removal, for the game's own server.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ractor::RpcReplyPort;

pub(in crate::room) use super::core::stream::server_api::ServerRequest;
use super::handle::{RoomHandle, load_refusal};
use super::message::RoomMessage;
use super::registry::Rooms;
use super::rules::publish_queue::StreamPosition;
use crate::mailbox::{Unanswered, ask};
use crate::supervisor::LoadError;
use crate::wire::{
    ErrorCode, Failure, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, Tags,
};

/// The number of open channels of this node that stay alive without members for a game server's publications. At most
/// a gigabyte with the default histories; beyond it, a publication to an empty channel is dropped.
pub(super) const UNHEARD_MAX: usize = 4_096;

/// Something that a game's server says.
#[derive(Debug, Clone)]
pub struct ServerPublication {
    /// Valid JSON on one line.
    pub data: Bytes,
    pub tags: Option<Arc<Tags>>,
    /// True if it is for the current members only and gets no place in the stream.
    pub is_passing: bool,
    /// The idempotency key.
    pub key: Option<Arc<str>>,
}

impl Rooms {
    /// Publishes to a channel; a room with seats is started for it. When this returns, the publication is delivered,
    /// and committed if the stream is durable.
    ///
    /// # Errors
    /// 107 for an invalid channel name, 102 if there is no such channel, 1003 for a closed room, 100.
    pub async fn publish(
        &self,
        channel: &str,
        word: ServerPublication,
    ) -> Result<StreamPosition, Failure> {
        self.ask_game(channel, |reply| ServerRequest::Publish {
            word: word.clone(),
            since: Instant::now(),
            reply,
        })
        .await
    }

    /// Returns the presence of a channel.
    ///
    /// # Errors
    /// 108 where the kind has no presence; 102, 107, 100.
    pub async fn presence(&self, channel: &str) -> Result<PresenceResult, Failure> {
        self.ask_game(channel, |reply| ServerRequest::Presence { reply })
            .await
    }

    /// Counts the clients and users in a channel.
    ///
    /// # Errors
    /// As of [`Rooms::presence`].
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceStatsResult, Failure> {
        self.ask_game(channel, |reply| ServerRequest::PresenceStats { reply })
            .await
    }

    /// Returns a page of a channel's history.
    ///
    /// # Errors
    /// 108 where the kind keeps no history, 112 for another epoch; 102, 107, 100.
    pub async fn history(&self, request: HistoryRequest) -> Result<HistoryResult, Failure> {
        self.ask_game(&request.channel, |reply| ServerRequest::History {
            request: request.clone(),
            reply,
        })
        .await
    }

    /// Removes a channel's history; its epoch and the offsets already given stay.
    ///
    /// # Errors
    /// As of [`Rooms::history`].
    pub async fn remove_history(&self, channel: &str) -> Result<(), Failure> {
        self.ask_channel(channel, |room| async move { room.remove_history().await })
            .await
    }

    /// Returns the channels with members, and the number of members of each.
    pub fn heard(&self) -> Vec<(Arc<str>, usize)> {
        let rooms = self.all().into_iter();
        let heard = rooms.map(|room| (Arc::clone(room.channel()), room.audience()));
        heard.filter(|(_, audience)| *audience > 0).collect()
    }

    async fn ask_game<T: Send + 'static>(
        &self,
        channel: &str,
        question: impl Fn(RpcReplyPort<Result<T, Failure>>) -> ServerRequest,
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
        let found = found.await.map_err(|error| match error {
            LoadError::Unavailable => Failure::from(ErrorCode::Internal),
            LoadError::Failed => load_refusal(error).into(),
        })?;
        found.flatten().ok_or(ErrorCode::UnknownChannel)?
    }
}

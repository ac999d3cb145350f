//! What a client does in the rooms it hears: subscribe, publish, ask.

use std::sync::Arc;

use bytes::Bytes;

use super::state::Connection;
use crate::id::{ConnectionId, RoomCode};
use crate::mailbox::Unanswered;
use crate::room::{Peer, Question, RoomHandle, RoomKey};
use crate::supervisor::LoadError;
use crate::wire::{
    Close, DEPTH_MAX, Encoding, ErrorCode, Failure, PublishResult, SubscribeRequest,
    UnsubscribeResult, is_deeper_than, one_line,
};

/// The longest channel name, in bytes, as in the protocol.
const CHANNEL_BYTES_MAX: usize = 255;

/// The delta format that client libraries offer. It is an offer: publications go out whole.
const FOSSIL: &str = "fossil";

/// One subscription; dropped, the room hears that its member is gone.
pub(super) struct Subscription {
    room: RoomHandle,
    connection: ConnectionId,
    is_over: bool,
}

impl Subscription {
    /// The room has ended it itself.
    fn forget(mut self) {
        self.is_over = true;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.is_over {
            self.room.leave(self.connection);
        }
    }
}

impl Connection {
    pub(super) async fn subscribe(
        &mut self,
        id: u32,
        request: SubscribeRequest,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let channel = request.channel.clone();
        let is_delta_known = ["", FOSSIL].contains(&request.delta.as_str());
        if channel.is_empty() || !is_delta_known {
            self.outbound.close(Close::BadRequest);
            return Ok(());
        }
        check_sort(&request)?;
        let is_known = self.channels.contains_key(&channel);
        if !is_known && self.channels.len() >= self.context.client.channels_max {
            return Err(ErrorCode::LimitExceeded.into());
        }
        let outbound = self.outbound.clone();
        let (room, subscribed) = self
            .ask_room(&channel, |room| {
                let (peer, request) = (Arc::clone(&peer), request.clone());
                let outbound = outbound.clone();
                async move { room.subscribe(id, peer, request, outbound).await }
            })
            .await?;
        subscribed?;
        let subscription = Subscription {
            room,
            connection: self.id,
            is_over: false,
        };
        // One that is there still was ended by its room, and the client has subscribed again.
        if let Some(ended) = self.channels.insert(channel, subscription) {
            ended.forget();
        }
        Ok(())
    }

    pub(super) async fn unsubscribe(&mut self, id: u32, channel: &str) {
        let mut is_answered = false;
        if let Some(subscription) = self.channels.remove(channel) {
            let unsubscribed = subscription
                .room
                .unsubscribe(id, self.id, self.outbound.clone())
                .await;
            is_answered = unsubscribed.is_ok();
        }
        if !is_answered {
            self.answer(id, &UnsubscribeResult {});
        }
    }

    pub(super) async fn publish(
        &mut self,
        id: u32,
        channel: &str,
        data: Bytes,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let data = match self.outbound.encoding() {
            // It was read with its frame.
            Encoding::Json => data,
            // It may go to clients that read JSON.
            Encoding::Protobuf => one_line(data)
                .map_err(|error| Failure::bad_request(format_args!("data is no JSON: {error}")))?,
        };
        if is_deeper_than(&data, DEPTH_MAX) {
            return Err(Failure::bad_request(format_args!(
                "data nests at most {DEPTH_MAX} arrays and objects"
            )));
        }
        let (_, published) = self
            .ask_room(channel, |room| {
                let (peer, data) = (Arc::clone(&peer), data.clone());
                async move { room.publish(peer, data).await }
            })
            .await?;
        published?;
        self.answer(id, &PublishResult {});
        Ok(())
    }

    pub(super) async fn question(
        &mut self,
        id: u32,
        channel: &str,
        question: Question,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let outbound = self.outbound.clone();
        let (_, answered) = self
            .ask_room(channel, |room| {
                let (peer, question) = (Arc::clone(&peer), question.clone());
                let outbound = outbound.clone();
                async move { room.question(id, peer, question, outbound).await }
            })
            .await?;
        answered
    }

    /// Asks the room of a channel; if it has gone meanwhile, once more after looking it up again.
    async fn ask_room<T, F>(
        &self,
        channel: &str,
        question: impl Fn(RoomHandle) -> F,
    ) -> Result<(RoomHandle, T), Failure>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        if let Some(subscription) = self.channels.get(channel)
            && let Ok(answer) = question(subscription.room.clone()).await
        {
            return Ok((subscription.room.clone(), answer));
        }
        let key = self.room_key(channel)?;
        let is_code = matches!(key, RoomKey::Code(_));
        if is_code {
            self.context.wrong_codes.check(self.address)?;
        }
        let rooms = self.context.actions.rooms();
        let found = rooms
            .ask(&key, |room| {
                let asked = question(room.clone());
                let is_meant = **room.channel() == *channel;
                async move {
                    match is_meant {
                        true => asked.await.map(|answer| Some((room, answer))),
                        false => Ok(None),
                    }
                }
            })
            .await
            .map_err(|LoadError| ErrorCode::Internal)?;
        let found = found.flatten();
        if is_code && found.is_none() {
            self.context.wrong_codes.count(self.address);
        }
        Ok(found.ok_or(ErrorCode::UnknownChannel)?)
    }

    /// Which room a channel would be.
    fn room_key(&self, channel: &str) -> Result<RoomKey, Failure> {
        if channel.is_empty() || channel.len() > CHANNEL_BYTES_MAX || !channel.is_ascii() {
            return Err(Failure::bad_request(format_args!(
                "a channel has 1 to {CHANNEL_BYTES_MAX} ASCII characters"
            )));
        }
        let kinds = self.context.actions.rooms().kinds();
        let kind = kinds.of_channel(channel).ok_or(ErrorCode::UnknownChannel)?;
        if kind.is_open_channel() {
            return Ok(RoomKey::Channel(channel.into()));
        }
        let code = channel.split_once(':').map_or("", |(_, code)| code);
        let code: RoomCode = code.parse().map_err(|_| ErrorCode::UnknownChannel)?;
        Ok(RoomKey::Code(code))
    }
}

/// Refuses what a subscription may ask for and this hub does not serve.
fn check_sort(request: &SubscribeRequest) -> Result<(), Failure> {
    const STREAM: i32 = 0;
    const SHARED_POLL: i32 = 4;
    if request.has_filter {
        return Err(Failure::bad_request("filters by tags are not served"));
    }
    match request.sort {
        STREAM => Ok(()),
        SHARED_POLL => Err(ErrorCode::NotAvailable.into()),
        _ => Err(ErrorCode::PermissionDenied.into()),
    }
}

//! A client's commands in rooms: subscribe, unsubscribe, publish, presence and history.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::dispatch::Connection;
use crate::actions::Guess;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, UserId};
use crate::mailbox::Unanswered;
use crate::room::{
    Grant, Initiator, PRIVATE, Peer, Question, RoomHandle, RoomKey, Subscribing, SubscriptionGuard,
    USERS, load_refusal,
};
use crate::wire::{
    Close, DEPTH_MAX, Encoding, ErrorCode, Failure, Refusal, SubscribeRequest, SubscribeResult,
    UnsubscribeResult, is_deeper_than, one_line,
};

/// The delta format that client libraries offer. The hub accepts the offer but sends publications whole.
const FOSSIL: &str = "fossil";

/// One subscription. Dropping it ends the membership in the room.
pub(crate) struct Subscription {
    room: RoomHandle,
    connection: ConnectionId,
    /// Shared with the member in the room. The room drops its half when it ends the subscription, and notifies only
    /// the client.
    tie: SubscriptionGuard,
    is_over: bool,
    /// The hub made the subscription, without a command of the client.
    pub(crate) is_by_hub: bool,
    /// The time at which the subscription expires. None: with the connection.
    pub(crate) expires: Option<Instant>,
}

impl Subscription {
    /// Makes the room end the subscription and notify the client. Returns whether the room has done so.
    pub(crate) async fn end(self, asked: Initiator, outbound: Outbound) -> bool {
        let told = self.room.unsubscribe(asked, self.connection, outbound);
        told.await.is_ok()
    }

    /// Makes the room end the subscription as expired, and notify the client.
    pub(crate) fn expire(mut self) {
        self.is_over = true;
        self.room.expire(self.connection);
    }

    /// Updates the client's public description in the room.
    pub(crate) fn renew(&self, peer: &Arc<Peer>) {
        self.room.renew(Arc::clone(peer));
    }

    /// Returns whether the room has ended the subscription itself.
    pub(crate) fn is_ended(&self) -> bool {
        self.tie.is_alone()
    }

    /// Drops a subscription that the room has ended itself, without leaving the room again.
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
    pub(crate) async fn subscribe(
        &mut self,
        id: u32,
        request: SubscribeRequest,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let channel = request.channel.as_str();
        let is_delta_known = ["", FOSSIL].contains(&request.delta.as_str());
        if channel.is_empty() || !is_delta_known {
            self.outbound.close(Close::BadRequest);
            return Ok(());
        }
        check_sort(&request)?;
        self.check_has_room_for(channel)?;
        self.count_join(channel, &peer)?;
        let Some(grant) = self.grant(&request, &peer).await? else {
            return Ok(());
        };
        let asked = Initiator::ByClient { id };
        self.enter(asked, peer, request, grant).await?;
        Ok(())
    }

    /// Counts the join event that a subscription publishes to the channel's members, if its kind has such events.
    fn count_join(&mut self, channel: &str, peer: &Peer) -> Result<(), Failure> {
        let kind = self.context.actions.rooms().kinds().of_channel(channel);
        if kind.is_some_and(|kind| kind.config.join_leave) {
            return self.count_published(peer.info.get().len());
        }
        Ok(())
    }

    /// Refuses a publication of a connection that has published too many bytes.
    fn count_published(&mut self, bytes: usize) -> Result<(), Failure> {
        if self.allowance.publish(bytes, Instant::now()) {
            return Ok(());
        }
        self.context.metrics.too_much.increment(1);
        Err(ErrorCode::TooManyRequests.into())
    }

    /// Refuses a channel above the limit. Subscriptions that their rooms have ended do not count.
    pub(crate) fn check_has_room_for(&mut self, channel: &str) -> Result<(), Failure> {
        let most = self.context.client.channels_max;
        if self.channels.len() >= most {
            self.channels.drop_ended();
        }
        match self.channels.len() < most || self.channels.get(channel).is_some() {
            true => Ok(()),
            false => Err(ErrorCode::LimitExceeded.into()),
        }
    }

    /// Returns the grant of a subscription; None if its token closes the connection.
    async fn grant(
        &self,
        request: &SubscribeRequest,
        peer: &Peer,
    ) -> Result<Option<Grant>, Failure> {
        if !request.token.is_empty() {
            return self.granted_by_token(request, peer).await;
        }
        if request.channel.starts_with(PRIVATE) || !is_for(&request.channel, peer) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        Ok(Some(Grant::default()))
    }

    /// Makes the connection a member of a channel's room. Returns the result if no command asked for the
    /// subscription.
    pub(crate) async fn enter(
        &mut self,
        asked: Initiator,
        peer: Arc<Peer>,
        request: SubscribeRequest,
        grant: Grant,
    ) -> Result<Option<SubscribeResult>, Failure> {
        let channel = request.channel.clone();
        let (expires, is_by_hub) = (self.until(grant.ttl), asked == Initiator::ByHub);
        let is_given = grant.is_given || is_by_hub;
        let tie = SubscriptionGuard::default();
        let subscribing = Subscribing {
            asked,
            peer,
            request,
            grant,
            outbound: self.outbound.clone(),
            tie: tie.clone(),
        };
        let (room, subscribed) = self
            .ask_room(&channel, is_given, |room| {
                let subscribing = subscribing.clone();
                async move { room.subscribe(subscribing).await }
            })
            .await?;
        let result = subscribed?;
        let subscription = Subscription {
            room,
            connection: self.id,
            tie,
            is_over: false,
            is_by_hub,
            expires,
        };
        // A subscription that is still listed was ended by its room, and the client has subscribed again.
        if let Some(ended) = self.channels.insert(channel, subscription) {
            ended.forget();
        }
        self.wake_next().await;
        Ok(result)
    }

    pub(crate) async fn unsubscribe(&mut self, id: u32, channel: &str) {
        let mut is_answered = false;
        if let Some(subscription) = self.channels.remove(channel) {
            let asked = Initiator::ByClient { id };
            is_answered = subscription.end(asked, self.outbound.clone()).await;
        }
        if !is_answered {
            self.answer(id, &UnsubscribeResult {});
        }
    }

    pub(crate) async fn publish(
        &mut self,
        id: u32,
        channel: &str,
        data: Bytes,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        let data = match self.outbound.encoding() {
            // The JSON was parsed with its frame.
            Encoding::Json => data,
            // The data may go to clients that use JSON.
            Encoding::Protobuf => one_line(data)
                .map_err(|error| Failure::bad_request(format_args!("data is no JSON: {error}")))?,
        };
        if is_deeper_than(&data, DEPTH_MAX) {
            return Err(Failure::bad_request(format_args!(
                "data nests at most {DEPTH_MAX} arrays and objects"
            )));
        }
        // The publisher's `info` goes out with each of its publications.
        self.count_published(data.len() + peer.info.get().len())?;
        self.ask_for(&peer, channel, |room, peer, outbound| {
            let data = data.clone();
            async move { room.publish(id, peer, data, outbound).await }
        })
        .await
    }

    pub(crate) async fn question(
        &mut self,
        id: u32,
        channel: &str,
        question: Question,
        peer: Arc<Peer>,
    ) -> Result<(), Failure> {
        self.ask_for(&peer, channel, |room, peer, outbound| {
            let question = question.clone();
            async move { room.question(id, peer, question, outbound).await }
        })
        .await
    }

    /// Asks the room of a channel on behalf of `peer`. The room itself queues the reply.
    async fn ask_for<F>(
        &self,
        peer: &Arc<Peer>,
        channel: &str,
        question: impl Fn(RoomHandle, Arc<Peer>, Outbound) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<Result<(), Failure>, Unanswered>>,
    {
        check_user(channel, peer)?;
        let asked = self.ask_room(channel, false, |room| {
            question(room, Arc::clone(peer), self.outbound.clone())
        });
        let (_, answered) = asked.await?;
        answered
    }

    /// Asks the room of a channel. If the room has stopped, looks it up and asks once more. Unless the hub or the
    /// game has granted the channel (`is_given`), the client is taken to guess the room's code.
    async fn ask_room<T, F>(
        &self,
        channel: &str,
        is_given: bool,
        question: impl Fn(RoomHandle) -> F,
    ) -> Result<(RoomHandle, T), Failure>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        if let Some(subscription) = self.channels.get(channel) {
            match question(subscription.room.clone()).await {
                Ok(answer) => return Ok((subscription.room.clone(), answer)),
                // The room may still carry out the request: repeated, it might be carried out twice.
                Err(Unanswered::Busy) => return Err(Refusal::unavailable().into()),
                Err(Unanswered::Stopped) => {}
            }
        }
        Box::pin(self.find_room(channel, is_given, question)).await
    }

    async fn find_room<T, F>(
        &self,
        channel: &str,
        is_given: bool,
        question: impl Fn(RoomHandle) -> F,
    ) -> Result<(RoomHandle, T), Failure>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let key = self.context.actions.rooms().kinds().room_key(channel)?;
        let guess = match (&key, is_given) {
            (RoomKey::Code(code), false) => self.actions().guess(*code, self.session()).await?,
            (RoomKey::Code(_), true) | (RoomKey::Channel(_), _) => Guess::known(),
        };
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
            .map_err(load_refusal)?;
        match found.flatten() {
            Some(found) => Ok(found),
            None => {
                guess.wrong();
                Err(ErrorCode::UnknownChannel.into())
            }
        }
    }
}

/// Returns the channel to which each of a user's connections is subscribed, where the configuration enables that.
/// None for a user id that would name other users as well.
pub(crate) fn personal_channel(user: &UserId) -> Option<String> {
    let user = user.as_str();
    (!user.contains(',')).then(|| format!("{USERS}{user}"))
}

/// Returns whether a channel is open to all users, or lists this user.
fn is_for(channel: &str, peer: &Peer) -> bool {
    let users = channel.split_once(USERS).map(|(_, users)| users);
    let is_user = |one: &str| one == peer.user.id.as_str();
    users.is_none_or(|users| users.split(',').any(is_user))
}

fn check_user(channel: &str, peer: &Peer) -> Result<(), Failure> {
    match is_for(channel, peer) {
        true => Ok(()),
        false => Err(ErrorCode::PermissionDenied.into()),
    }
}

/// Refuses subscription options of the protocol that this hub does not serve.
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

//! Subscribe, unsubscribe, publish, presence and history: the requests of clients.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::config::Permission;
use crate::delivery::{Outbound, QueueLimits};
use crate::id::ConnectionId;
use crate::room::core::Room;
use crate::room::message::{Initiator, Question, Subscribing};
use crate::room::rules::members::{AccessGrant, Member, Peer};
use crate::room::rules::publish_queue::{PublicationDraft, PublishReply};
use crate::wire::{
    ClientInfo, ErrorCode, Failure, HistoryRequest, HistoryResult, Overrides, PresenceResult,
    PresenceStatsResult, Push, Refusal, Shared, SubscribeRequest, SubscribeResult,
    UnsubscribeResult, push,
};

impl Room {
    /// Adds a member and queues the reply in one step, so that no push can overtake it.
    pub(in crate::room) fn subscribe(
        &mut self,
        subscribing: Subscribing,
    ) -> Result<Option<SubscribeResult>, Failure> {
        let Subscribing {
            asked,
            peer,
            request,
            grant,
            outbound,
            tie,
        } = subscribing;
        if self.members.get(peer.connection).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if !grant.is_given && !self.may_subscribe(&peer) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let half = outbound.half();
        let (_, waiting) = outbound.depth();
        let limits = QueueLimits {
            // A client that returns to several rooms at once gets half a queue for all of them together.
            bytes_max: half.bytes_max.saturating_sub(waiting),
            count_max: half.count_max.min(self.shared.recovery_max),
        };
        let recover = request.recover.is_some();
        let request = without_recovery(request, grant.overrides)?;
        let mut subscribed = self.stream.subscribe(&request, limits, self.now())?;
        for missed in &mut subscribed.publications {
            self.show_time(missed);
        }
        switch_off(&mut subscribed, grant.overrides);
        subscribed.data = grant.data;
        subscribed.expires = grant.ttl.is_some();
        subscribed.ttl = grant.ttl.unwrap_or(0);
        if recover {
            let metrics = &self.shared.metrics;
            match subscribed.recovered {
                true => metrics.recovered.increment(1),
                false => metrics.not_recovered.increment(1),
            }
        }
        let result = match asked {
            // Full or closed: the connection is ending, and the client receives nothing more.
            Initiator::ByClient { id } if outbound.answer(id, &subscribed).is_err() => {
                return Ok(None);
            }
            Initiator::ByClient { .. } => None,
            Initiator::ByHub => Some(subscribed),
        };
        let seat = self.seat_info(peer.session).cloned();
        let channel = Arc::clone(&self.identity.channel);
        let right = AccessGrant {
            is_given: grant.is_given,
            unseated_info: grant.info,
            overrides: grant.overrides,
            has_join_leave: self.identity.kind.config.join_leave,
        };
        let member = Member::new(asked, peer, seat, right, channel, outbound, tie);
        let told_of = member.is_told_of().then(|| Arc::clone(&member.info));
        self.members.add(member);
        self.remember();
        if let Some(info) = told_of {
            self.tell_of(&Push::Join { info: &info });
        }
        Ok(result)
    }

    pub(in crate::room) fn unsubscribe(
        &mut self,
        asked: Initiator,
        connection: ConnectionId,
        outbound: &Outbound,
    ) {
        match asked {
            Initiator::ByClient { id } => {
                self.members.remove(connection);
                // Full or closed: the connection is ending, and the subscription with it.
                let _ = outbound.answer(id, &UnsubscribeResult {});
            }
            Initiator::ByHub => self.members.dismiss_connection(connection),
        }
        self.rest_if_unheard();
    }

    /// Pushes a leave for each member that has left since the last call, by any way.
    pub(in crate::room) fn tell_who_left(&mut self) {
        while let Some(info) = self.members.left() {
            self.tell_of(&Push::Leave { info: &info });
        }
    }

    /// Pushes a join or a leave to the members that receive them.
    fn tell_of(&mut self, what: &Push<'_>) {
        let channel = Arc::clone(&self.identity.channel);
        let frames = Shared::new(|encoding| push(encoding, &channel, what));
        self.members.tell_of(frames);
    }

    pub(in crate::room) fn expire(&mut self, connection: ConnectionId) {
        self.members.expire(connection);
        self.rest_if_unheard();
    }

    pub(in crate::room) fn renew(&mut self, peer: Arc<Peer>) {
        self.members.renew(peer);
    }

    pub(in crate::room) fn leave(&mut self, connection: ConnectionId) {
        self.members.remove(connection);
        self.rest_if_unheard();
    }

    pub(in crate::room) fn publish(
        &mut self,
        peer: &Peer,
        data: Bytes,
        since: Instant,
        reply: PublishReply,
    ) {
        match self.check_size(&data).and_then(|()| self.speaker(peer)) {
            Ok(info) => {
                let said = PublicationDraft {
                    data,
                    info: Some(info),
                    tags: None,
                    time: self.now(),
                    since,
                };
                self.say(said, Some(reply));
            }
            Err(failure) => self.answer_publisher(reply, Err(failure)),
        }
    }

    /// Refuses a client's publication that is larger than the kind allows.
    fn check_size(&self, data: &[u8]) -> Result<(), Failure> {
        let most = self.identity.kind.config.message_max;
        if data.len() <= most {
            return Ok(());
        }
        self.shared.metrics.too_large.increment(1);
        let (kind, bytes) = (&self.identity.kind.name, data.len());
        Err(Failure::bad_request(format_args!(
            "data of a publication has at most {most} bytes in channels of kind {kind}, not {bytes}"
        )))
    }

    /// Returns the client info that others see of a publisher, if it may publish.
    fn speaker(&self, peer: &Peer) -> Result<Arc<ClientInfo>, Failure> {
        if self.is_frozen() && self.identity.profile.is_some() {
            return Err(Refusal::stopping().into());
        }
        if !self.is_allowed(self.identity.kind.config.publish, peer) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        Ok(match self.members.get(peer.connection) {
            Some(member) => Arc::clone(&member.info),
            None => peer.describe(self.seat_info(peer.session).cloned()),
        })
    }

    pub(in crate::room) fn question(
        &mut self,
        id: u32,
        peer: &Peer,
        question: &Question,
        outbound: &Outbound,
    ) -> Result<(), Failure> {
        let is_served = match question {
            Question::Presence | Question::PresenceStats => self.identity.kind.config.presence,
            Question::History(_) => self.stream.has_history(),
        };
        if !is_served {
            return Err(ErrorCode::NotAvailable.into());
        }
        if !self.is_allowed(self.identity.kind.config.read, peer) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        // Full or closed: the client cannot receive the answer.
        let _ = match question {
            Question::Presence => {
                let presence = self.members.prepared_presence(outbound.encoding());
                // More than the queue can ever hold: the client would be disconnected for it.
                if presence.weight() > 2 * outbound.half().bytes_max {
                    return Err(ErrorCode::LimitExceeded.into());
                }
                outbound.offer_answer(presence.reply(id))
            }
            Question::PresenceStats => outbound.answer(id, &self.presence_stats()),
            Question::History(request) => {
                let bytes_max = outbound.half().bytes_max;
                outbound.answer(id, &self.history(request, bytes_max)?)
            }
        };
        Ok(())
    }

    pub(in crate::room) fn presence(&self) -> PresenceResult {
        self.members.presence()
    }

    pub(in crate::room) fn presence_stats(&self) -> PresenceStatsResult {
        self.members.presence_stats()
    }

    /// Returns a page of at most `bytes_max` bytes and `client.recovery_max` publications.
    pub(in crate::room) fn history(
        &mut self,
        request: &HistoryRequest,
        bytes_max: usize,
    ) -> Result<HistoryResult, ErrorCode> {
        let now = self.now();
        let limits = QueueLimits {
            bytes_max,
            count_max: self.shared.recovery_max,
        };
        let mut publications = self.stream.page(request, limits, now)?;
        for publication in &mut publications {
            self.show_time(publication);
        }
        Ok(HistoryResult {
            publications,
            epoch: Arc::clone(self.stream.epoch()),
            offset: self.stream.top(),
        })
    }

    fn may_subscribe(&self, peer: &Peer) -> bool {
        let config = &self.identity.kind.config;
        match config.subscribe {
            Permission::Seated => {
                self.is_allowed(Permission::Seated, peer)
                    || (!self.seating.is_outdated(peer.session, peer.epoch)
                        && self.members.spectators() < config.spectators)
            }
            // A client that asks to become a member is not one yet.
            Permission::Members | Permission::Anyone => self.is_allowed(Permission::Anyone, peer),
            Permission::Server => false,
        }
    }
}

/// Removes recovery from a request where it is disabled; missed publications are then unavailable.
fn without_recovery(
    mut request: SubscribeRequest,
    overrides: Overrides,
) -> Result<SubscribeRequest, ErrorCode> {
    if overrides.force_recovery == Some(false) && request.recover.is_some() {
        if request.is_recovery_required() {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        request.recover = None;
    }
    Ok(request)
}

/// Removes what is disabled for a subscriber from its result.
fn switch_off(subscribed: &mut SubscribeResult, overrides: Overrides) {
    subscribed.recoverable &= overrides.force_recovery != Some(false);
    subscribed.positioned &= overrides.force_positioning != Some(false);
    if !subscribed.recoverable && !subscribed.positioned {
        (subscribed.epoch, subscribed.offset) = ("".into(), 0);
    }
}

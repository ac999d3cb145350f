//! The members of a room, and how a frame reaches all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use super::presence::Presence;
use super::write_batching::WriteBatcher;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionId};
use crate::room::message::Initiator;
use crate::room::seat_event::AttachSeq;
use crate::wire::{
    ClientInfo, Close, Encoding, Frame, Overrides, PreparedPresence, PresenceResult,
    PresenceStatsResult, Push, Shared, UserView, push,
};

/// Insufficient state: the client subscribes again at once.
const UNSUBSCRIBE_RETRY: u32 = 2500;

/// The subscription's token has expired: the client subscribes again with a new one.
const UNSUBSCRIBE_EXPIRED: u32 = 2501;

/// The unsubscribe is final.
const UNSUBSCRIBE_FINAL: u32 = 2000;

/// A guard that is shared by a subscription and its member in the room: if only one holds it, the other is gone.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionGuard(Arc<()>);

impl SubscriptionGuard {
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A connection with its user and session, as rooms see it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub user: UserView,
    /// The info that others see of the connection, in addition to the user: its name at least.
    pub info: Arc<RawValue>,
    /// The attach sequence of the connection.
    pub epoch: AttachSeq,
}

impl Peer {
    pub(in crate::room) fn describe(&self, chan_info: Option<Arc<RawValue>>) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.id.as_str().into(),
            client: self.connection.to_string().into(),
            conn_info: Some(Arc::clone(&self.info)),
            chan_info,
        })
    }
}

/// Presence, join and leave settings of a member.
#[derive(Debug, Clone, Copy)]
struct PresenceFlags {
    /// True if the member is listed in presence.
    is_shown: bool,
    /// True if others receive its joins and leaves.
    is_told_of: bool,
    /// True if it receives the joins and leaves of others.
    hears_of_others: bool,
}

impl PresenceFlags {
    fn new(overrides: Overrides, has_join_leave: bool) -> PresenceFlags {
        PresenceFlags {
            is_shown: overrides.presence.unwrap_or(true),
            is_told_of: overrides.join_leave.unwrap_or(has_join_leave),
            hears_of_others: overrides.force_push_join_leave.unwrap_or(has_join_leave),
        }
    }
}

/// One subscription. Dropped without an unsubscribe, because its room has failed, it makes the client subscribe
/// again: by a push, or by a new connection if it is a server-side subscription.
#[derive(Debug)]
pub(in crate::room) struct Member {
    pub(in crate::room) peer: Arc<Peer>,
    pub(in crate::room) info: Arc<ClientInfo>,
    /// The member's info for others while it holds no seat.
    unseated_info: Option<Arc<RawValue>>,
    is_seated: bool,
    is_by_hub: bool,
    /// True if it may be here regardless of the kind's permissions.
    is_given: bool,
    terms: PresenceFlags,
    channel: Arc<str>,
    outbound: Outbound,
    is_dismissed: bool,
    _tie: SubscriptionGuard,
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.is_dismissed {
            return;
        }
        match self.is_by_hub {
            true => self.outbound.cut(Close::InsufficientState),
            false => self.unsubscribe(UNSUBSCRIBE_RETRY, "insufficient state"),
        }
    }
}

/// The rights with which a member subscribes.
#[derive(Debug)]
pub(in crate::room) struct AccessGrant {
    pub(in crate::room) is_given: bool,
    pub(in crate::room) unseated_info: Option<Arc<RawValue>>,
    pub(in crate::room) overrides: Overrides,
    /// The kind's setting for all its members.
    pub(in crate::room) has_join_leave: bool,
}

impl Member {
    /// Returns whether others receive its joins and leaves.
    pub(in crate::room) fn is_told_of(&self) -> bool {
        self.terms.is_told_of
    }

    pub(in crate::room) fn new(
        asked: Initiator,
        peer: Arc<Peer>,
        seat: Option<Arc<RawValue>>,
        right: AccessGrant,
        channel: Arc<str>,
        outbound: Outbound,
        tie: SubscriptionGuard,
    ) -> Member {
        Member {
            is_seated: seat.is_some(),
            info: peer.describe(seat.or_else(|| right.unseated_info.clone())),
            unseated_info: right.unseated_info,
            is_given: right.is_given,
            terms: PresenceFlags::new(right.overrides, right.has_join_leave),
            is_by_hub: asked == Initiator::ByHub,
            channel,
            outbound,
            is_dismissed: false,
            _tie: tie,
            peer,
        }
    }

    fn unsubscribe(&self, code: u32, reason: &'static str) {
        let what = Push::Unsubscribe { code, reason };
        let frame = push(self.outbound.encoding(), &self.channel, &what);
        // Full or closed: the client is being disconnected and returns with a new connection.
        let _ = self.outbound.offer(frame);
    }
}

/// The members of one room.
#[derive(Debug)]
pub(in crate::room) struct Members {
    present: HashMap<ConnectionId, Member>,
    /// Members that have left, for which no leave was pushed yet.
    left: Vec<Arc<ClientInfo>>,
    presence: Presence,
}

impl Members {
    pub(in crate::room) fn new() -> Members {
        Members {
            present: HashMap::new(),
            left: Vec::new(),
            presence: Presence::default(),
        }
    }

    pub(in crate::room) fn add(&mut self, member: Member) {
        if member.terms.is_shown {
            self.presence.enters(&member.info.user);
        }
        if let Some(earlier) = self.present.insert(member.peer.connection, member) {
            self.gone(earlier);
        }
    }

    /// Returns a member that has left and for which no leave was pushed yet.
    pub(in crate::room) fn left(&mut self) -> Option<Arc<ClientInfo>> {
        self.left.pop()
    }

    pub(in crate::room) fn get(&self, connection: ConnectionId) -> Option<&Member> {
        self.present.get(&connection)
    }

    /// Removes a member that has unsubscribed, or whose connection is gone.
    pub(in crate::room) fn remove(&mut self, connection: ConnectionId) {
        if let Some(member) = self.present.remove(&connection) {
            self.gone(member);
        }
    }

    /// Unsubscribes a member on behalf of the hub, with a push.
    pub(in crate::room) fn dismiss_connection(&mut self, connection: ConnectionId) {
        if let Some(member) = self.present.remove(&connection) {
            member.unsubscribe(UNSUBSCRIBE_FINAL, "server unsubscribe");
            self.gone(member);
        }
    }

    /// Unsubscribes a member whose subscription has expired, with a push.
    pub(in crate::room) fn expire(&mut self, connection: ConnectionId) {
        if let Some(member) = self.present.remove(&connection) {
            member.unsubscribe(UNSUBSCRIBE_EXPIRED, "subscription expired");
            self.gone(member);
        }
    }

    /// Updates the client info that others see of a connection.
    pub(in crate::room) fn renew(&mut self, peer: Arc<Peer>) {
        if let Some(member) = self.present.get_mut(&peer.connection) {
            member.info = peer.describe(member.info.chan_info.clone());
            member.peer = peer;
            self.presence.changed();
        }
    }

    fn gone(&mut self, mut member: Member) {
        member.is_dismissed = true;
        if member.terms.is_shown {
            self.presence.leaves(&member.info.user);
        }
        if member.is_told_of() {
            self.left.push(Arc::clone(&member.info));
        }
    }

    /// Removes the members of a session's older connections.
    pub(in crate::room) fn remove_older(&mut self, session: SessionId, epoch: AttachSeq) {
        self.retain(|member| member.peer.session != session || member.peer.epoch >= epoch);
    }

    /// Removes the members of a session that lost its seat by a takeover.
    pub(in crate::room) fn remove_session(&mut self, session: SessionId) {
        self.retain(|member| member.peer.session != session);
    }

    /// Unsubscribes a session's members, except those that need no seat.
    pub(in crate::room) fn dismiss_session(&mut self, session: SessionId) {
        self.dismiss(|member| member.peer.session == session && !member.is_given);
    }

    /// Unsubscribes all members of a room that has closed.
    pub(in crate::room) fn dismiss_all(&mut self) {
        self.dismiss(|_| true);
    }

    /// Updates the seat, or the loss of one, in the client info of a session.
    pub(in crate::room) fn describe(&mut self, session: SessionId, seat: Option<&Arc<RawValue>>) {
        for member in self.present.values_mut() {
            if member.peer.session == session {
                let info = seat.or(member.unseated_info.as_ref());
                member.info = member.peer.describe(info.cloned());
                member.is_seated = seat.is_some();
                self.presence.changed();
            }
        }
    }

    /// Queues a frame for every member. A member whose queue does not take it is removed: its connection is closing.
    /// In a crowd, the sockets are not woken yet.
    pub(in crate::room) fn tell<F>(
        &mut self,
        mut shared: Shared<F>,
        timed: Option<Instant>,
        mut crowd: Option<&mut WriteBatcher>,
    ) where
        F: Fn(Encoding) -> Frame,
    {
        self.retain(|member| {
            let frame = shared.frame(member.outbound.encoding()).clone();
            match (member.outbound.leave(frame, timed), &mut crowd) {
                (Ok(sleeper), Some(crowd)) => crowd.leave(sleeper),
                // The drop wakes the socket.
                (Ok(sleeper), None) => drop(sleeper),
                (Err(_), _) => return false,
            }
            true
        });
    }

    /// Queues a join or a leave for the members that receive them.
    pub(in crate::room) fn tell_of<F>(&mut self, mut shared: Shared<F>)
    where
        F: Fn(Encoding) -> Frame,
    {
        self.retain(|member| {
            let is_meant = member.terms.hears_of_others;
            !is_meant || {
                let frame = shared.frame(member.outbound.encoding()).clone();
                member.outbound.offer(frame).is_ok()
            }
        });
    }

    /// Returns the members that are listed in presence.
    pub(in crate::room) fn presence(&self) -> PresenceResult {
        present(&self.present)
    }

    /// Returns the presence in its encoded form.
    pub(in crate::room) fn prepared_presence(&mut self, encoding: Encoding) -> &PreparedPresence {
        let present = &self.present;
        self.presence
            .prepared(encoding, || crate::room::rules::members::present(present))
    }

    pub(in crate::room) fn presence_stats(&self) -> PresenceStatsResult {
        self.presence.stats()
    }

    /// Counts the members without a seat that are here by the kind's permissions.
    pub(in crate::room) fn spectators(&self) -> usize {
        let is_spectator = |member: &&Member| !member.is_seated && !member.is_given;
        self.present.values().filter(is_spectator).count()
    }

    pub(in crate::room) fn len(&self) -> usize {
        self.present.len()
    }

    pub(in crate::room) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    fn dismiss(&mut self, is_meant: impl Fn(&Member) -> bool) {
        self.retain(|member| {
            let is_meant = is_meant(member);
            if is_meant {
                member.unsubscribe(UNSUBSCRIBE_FINAL, "server unsubscribe");
            }
            !is_meant
        });
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Member) -> bool) {
        let (left, presence) = (&mut self.left, &mut self.presence);
        self.present.retain(|_, member| {
            let is_kept = is_kept(member);
            member.is_dismissed = !is_kept;
            if !is_kept && member.terms.is_shown {
                presence.leaves(&member.info.user);
            }
            if !is_kept && member.is_told_of() {
                left.push(Arc::clone(&member.info));
            }
            is_kept
        });
    }
}

fn present(members: &HashMap<ConnectionId, Member>) -> PresenceResult {
    let shown = members.values().filter(|member| member.terms.is_shown);
    PresenceResult {
        presence: shown
            .map(|member| (Arc::clone(&member.info.client), Arc::clone(&member.info)))
            .collect(),
    }
}

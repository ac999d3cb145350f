//! Who hears a room, and how a frame reaches all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;

use super::notice::Epoch;
use crate::delivery::Outbound;
use crate::id::{ConnectionId, SessionId};
use crate::wire::{ClientInfo, Encoding, Frame, Push, Shared, UserView, push};

/// Insufficient state: the client subscribes again at once.
const UNSUBSCRIBE_RETRY: u32 = 2500;

/// The client hears the channel no more, and knows it.
const UNSUBSCRIBE_FINAL: u32 = 2000;

/// Somebody at a connection, as a room needs to know them.
#[derive(Debug)]
pub struct Peer {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub user: UserView,
    /// What the others see of the connection, beside the user: its name at least.
    pub info: Arc<RawValue>,
    /// The attachment of the session that the connection belongs to.
    pub epoch: Epoch,
}

impl Peer {
    pub(super) fn describe(&self, chan_info: Option<Arc<RawValue>>) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.id.as_str().into(),
            client: self.connection.to_string().into(),
            conn_info: Some(Arc::clone(&self.info)),
            chan_info,
        })
    }
}

/// One subscription. Dropped without a goodbye, because its room has failed, it tells the client to
/// subscribe again.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: Arc<Peer>,
    pub(super) info: Arc<ClientInfo>,
    is_seated: bool,
    channel: Arc<str>,
    outbound: Outbound,
    is_dismissed: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.is_dismissed {
            self.unsubscribe(UNSUBSCRIBE_RETRY, "insufficient state");
        }
    }
}

impl Member {
    fn unsubscribe(&self, code: u32, reason: &'static str) {
        let what = Push::Unsubscribe { code, reason };
        let frame = push(self.outbound.encoding(), &self.channel, &what);
        // Full or closed: the client is on its way out and comes back with a new connection.
        let _ = self.outbound.offer(frame);
    }
}

/// The members of one room.
#[derive(Debug, Default)]
pub(super) struct Members(HashMap<ConnectionId, Member>);

impl Members {
    pub(super) fn add(
        &mut self,
        peer: Arc<Peer>,
        info: Arc<ClientInfo>,
        is_seated: bool,
        channel: Arc<str>,
        outbound: Outbound,
    ) {
        let member = Member {
            info,
            is_seated,
            channel,
            outbound,
            is_dismissed: false,
            peer: Arc::clone(&peer),
        };
        self.0.insert(peer.connection, member);
    }

    pub(super) fn get(&self, connection: ConnectionId) -> Option<&Member> {
        self.0.get(&connection)
    }

    /// Removes a member that says goodbye, or whose connection is gone.
    pub(super) fn remove(&mut self, connection: ConnectionId) {
        if let Some(mut member) = self.0.remove(&connection) {
            member.is_dismissed = true;
        }
    }

    /// Removes what belongs to connections that a session has left behind.
    pub(super) fn remove_older(&mut self, session: SessionId, epoch: Epoch) {
        self.retain(|member| member.peer.session != session || member.peer.epoch >= epoch);
    }

    /// Tells a session's members that they hear the room no more.
    pub(super) fn dismiss_session(&mut self, session: SessionId) {
        self.dismiss(|member| member.peer.session == session);
    }

    /// Tells everybody that the room is over.
    pub(super) fn dismiss_all(&mut self) {
        self.dismiss(|_| true);
    }

    /// Writes a new seat, or the loss of one, into what others see of a session.
    pub(super) fn describe(&mut self, session: SessionId, seat: Option<&Arc<RawValue>>) {
        for member in self.0.values_mut() {
            if member.peer.session == session {
                member.info = member.peer.describe(seat.cloned());
                member.is_seated = seat.is_some();
            }
        }
    }

    /// Queues a frame for everybody, and says for how many. Who cannot take it is out: its
    /// connection is closing.
    pub(super) fn tell<F>(&mut self, mut shared: Shared<F>, timed: Option<Instant>) -> usize
    where
        F: Fn(Encoding) -> Frame,
    {
        self.retain(|member| {
            let frame = shared.frame(member.outbound.encoding()).clone();
            member.outbound.offer_timed(frame, timed).is_ok()
        });
        self.0.len()
    }

    /// Members without a seat.
    pub(super) fn spectators(&self) -> usize {
        let is_spectator = |member: &&Member| !member.is_seated;
        self.0.values().filter(is_spectator).count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        self.0.retain(|_, member| {
            let is_kept = is_kept(member);
            member.is_dismissed = !is_kept;
            is_kept
        });
    }
}

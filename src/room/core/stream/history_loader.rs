//! The stored history of a durable stream: read when it is asked for, removed when it exceeds its limits.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;

use crate::delivery::Outbound;
use crate::persistence::{
    ReadError, Refused, RemoveHistory, SoftWrite, StoredPublication, StreamCommand,
};
use crate::room::core::Room;
use crate::room::core::effect::Effect;
use crate::room::core::seat::claim::refusal;
use crate::room::load_refusal;
use crate::room::message::{Change, Question, RoomMessage, Subscribing, Wake};
use crate::room::rules::members::Peer;
use crate::room::server_api::ServerRequest;
use crate::wire::{ErrorCode, Failure, Refusal, SubscribeResult};

/// The number of rows to collect before their removal is written, which costs a statement.
pub(in crate::room) const PRUNE_AT: u64 = 64;

/// The least time between two looks for expired publications.
const PRUNE_EVERY_MIN: Duration = Duration::from_secs(1);

/// The number of requests that may wait for the history to be read or removed: more than a room normally has clients.
const DEFERRED_MAX: usize = 4_096;

impl Room {
    /// Removes publications beyond the limits once there are `at_least` of them, and sets a timer for
    /// the next ones that expire.
    pub(in crate::room) fn prune(&mut self, at_least: u64) {
        let now = self.now();
        if let Some(below) = self.stream.outdated(now, at_least) {
            self.mark_pruned(below);
        }
        if !self.life.is_prune_pending
            && let Some(wait) = self.stream.next_expiry(now)
        {
            self.life.is_prune_pending = true;
            self.wake(wait.max(PRUNE_EVERY_MIN), Wake::Prune);
        }
    }

    pub(in crate::room) fn prune_again(&mut self) {
        self.life.is_prune_pending = false;
        self.prune(1);
    }

    /// Removes all stored history: no client will return to the stream.
    pub(in crate::room) fn prune_all(&mut self) {
        if self.stream.is_durable() {
            self.mark_pruned(self.stream.top() + 1);
        }
    }

    fn mark_pruned(&mut self, below: u64) {
        if let Some(room) = self.id() {
            let epoch = Arc::clone(self.stream.epoch());
            self.push(Effect::Mark(SoftWrite::PruneHistory { room, epoch, below }));
        }
    }

    /// Returns whether a message has to wait because it needs history that has not been read.
    pub(in crate::room) fn needs_past(&self, message: &RoomMessage) -> bool {
        if let RoomMessage::Subscribe { subscribing, .. } = message {
            return self.stream.needs_past(&subscribing.request);
        }
        let is_history = matches!(
            message,
            RoomMessage::Ask {
                question: Question::History(_),
                ..
            }
        );
        let is_history = is_history
            || matches!(message, RoomMessage::Game(asked) if matches!(**asked, ServerRequest::History { .. }));
        is_history && self.stream.is_past_missing()
    }

    /// Queues the message until the history is read, and starts reading it.
    pub(in crate::room) fn defer(&mut self, message: RoomMessage) {
        let Some(deferred) = Deferred::new(message) else {
            return;
        };
        if self.waiting.deferred.len() >= DEFERRED_MAX {
            return self.refuse_deferred(deferred, Refusal::unavailable());
        }
        self.waiting.deferred.push(deferred);
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let Some(window) = self.stream.window(profile.id, self.now()) else {
            return;
        };
        self.push(Effect::ReadHistory(window));
    }

    /// Takes the history that was read, or the failure. Returns the requests to be carried out now.
    pub(in crate::room) fn past_read(
        &mut self,
        read: Result<Vec<StoredPublication>, ReadError>,
    ) -> Vec<Deferred> {
        let deferred = std::mem::take(&mut self.waiting.deferred);
        match read {
            Ok(past) => {
                self.stream.put_past(past, self.now());
                deferred
            }
            Err(error) => {
                self.stream.past_is_unread();
                let refusal = load_refusal(error);
                for request in deferred {
                    self.refuse_deferred(request, refusal.clone());
                }
                Vec::new()
            }
        }
    }

    /// Refuses a request because the history cannot be read.
    fn refuse_deferred(&mut self, deferred: Deferred, refusal: Refusal) {
        let failure = refusal.into();
        match deferred {
            Deferred::Subscribe { reply, .. } => self.answer(reply, Err(failure)),
            Deferred::Ask { reply, .. } => self.answer(reply, Err(failure)),
            Deferred::Game(request) => self.refuse_game(*request, failure),
        }
    }

    /// Removes the history of the stream. Its top stays, so that clients do not take it for a new stream.
    pub(in crate::room) fn remove_history(&mut self, reply: RpcReplyPort<Result<(), Failure>>) {
        let up_to = self.stream.top();
        if !self.stream.has_history() {
            return self.answer(reply, Err(ErrorCode::NotAvailable.into()));
        }
        // The stream that was handed out would come back with its history.
        if self.is_frozen() && self.identity.profile.is_some() {
            return self.answer(reply, Err(Refusal::stopping().into()));
        }
        let Some(room) = self.id().filter(|_| self.stream.is_durable()) else {
            self.stream.forget(up_to);
            // Rows that the last planned stop wrote out may not have been removed yet.
            self.mark_pruned(up_to + 1);
            return self.answer(reply, Ok(()));
        };
        if self.waiting.removals.len() >= DEFERRED_MAX {
            return self.answer(reply, Err(Refusal::unavailable().into()));
        }
        let removal = StreamCommand::RemoveHistory(RemoveHistory {
            room,
            epoch: Arc::clone(self.stream.epoch()),
            up_to,
        });
        self.write(removal, Change::RemoveHistory { up_to });
        self.waiting.removals.push_back(reply);
    }

    /// Handles the outcome of a removal. Removals are settled in the order in which they were requested.
    pub(in crate::room) fn history_removed(&mut self, up_to: u64, removed: Result<(), &Refused>) {
        if removed.is_ok() {
            self.stream.forget(up_to);
        }
        if let Some(reply) = self.waiting.removals.pop_front() {
            self.answer(reply, removed.map_err(|refused| refusal(refused).into()));
        }
    }
}

/// A request that waits for the history.
pub(in crate::room) enum Deferred {
    Game(Box<ServerRequest>),
    Subscribe {
        subscribing: Box<Subscribing>,
        reply: RpcReplyPort<Result<Option<SubscribeResult>, Failure>>,
    },
    Ask {
        id: u32,
        peer: Arc<Peer>,
        question: Question,
        outbound: Outbound,
        reply: RpcReplyPort<Result<(), Failure>>,
    },
}

impl Deferred {
    /// Returns None for a message that never waits.
    fn new(message: RoomMessage) -> Option<Deferred> {
        if let RoomMessage::Subscribe { subscribing, reply } = message {
            return Some(Deferred::Subscribe { subscribing, reply });
        }
        if let RoomMessage::Game(question) = message {
            return Some(Deferred::Game(question));
        }
        let RoomMessage::Ask {
            id,
            peer,
            question,
            outbound,
            reply,
        } = message
        else {
            return None;
        };
        Some(Deferred::Ask {
            id,
            peer,
            question,
            outbound,
            reply,
        })
    }
}

impl From<Deferred> for RoomMessage {
    fn from(deferred: Deferred) -> RoomMessage {
        match deferred {
            Deferred::Game(question) => RoomMessage::Game(question),
            Deferred::Subscribe { subscribing, reply } => {
                RoomMessage::Subscribe { subscribing, reply }
            }
            Deferred::Ask {
                id,
                peer,
                question,
                outbound,
                reply,
            } => RoomMessage::Ask {
                id,
                peer,
                question,
                outbound,
                reply,
            },
        }
    }
}

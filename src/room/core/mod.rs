//! A live room: its seats, members and stream, and the helpers that all its parts use.

mod attendance;
pub(super) mod change;
pub(super) mod claim;
mod doubt;
mod history_loader;
mod hold;
mod publish;
mod release;
pub(super) mod server_api;
pub(super) mod session_change;
pub(in crate::room) mod shutdown;
mod subscribe;
mod takeover;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{ActorRef, RpcReplyPort};
use serde_json::value::RawValue;

use self::history_loader::Deferred;
use self::server_api::Keep;
use self::shutdown::ShutdownPhase;
use crate::clock::HubTime;
use crate::config::Permission;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::matchmaking::Supply;
use crate::persistence::{Committed, StoredRoom, Write, WriteError};
use crate::room::handle::{MemberCount, RoomKey};
use crate::room::message::{Change, ClaimRequest, Claimed, RoomMessage, TakeRequest, Wake};
use crate::room::metric::Share;
use crate::room::registry::RoomContext;
use crate::room::rules::kind::{Kind, PRIVATE};
use crate::room::rules::members::{Members, Peer};
use crate::room::rules::publish_dedup::RecentKeys;
use crate::room::rules::publish_queue::PublishQueue;
use crate::room::rules::seats::{Occupant, Seats};
use crate::room::rules::stream::Stream;
use crate::room::rules::write_batching::WriteBatcher;
use crate::room::seat_event::{ClaimNotice, HeldSeat, SeatEvent};
use crate::supervisor::{LiveGauge, ShardMessage};
use crate::wire::{Failure, Publication, Push, Refusal, Shared, push};

/// An upper bound on the time until a starting room is in the directory, through which its timers reach it. A shorter
/// timer bypasses the directory, at the price of a timer of its own.
const REGISTRATION_TIME_MAX: Duration = Duration::from_secs(1);

/// A live room with all its state.
pub(super) struct Room {
    pub(super) context: Arc<RoomContext>,
    pub(super) me: ActorRef<RoomMessage>,
    pub(super) key: RoomKey,
    pub(super) channel: Arc<str>,
    pub(super) kind: Arc<Kind>,
    /// None for an open channel.
    pub(super) profile: Option<Profile>,
    pub(super) seating: Seats,
    pub(super) members: Members,
    pub(super) crowd: WriteBatcher,
    pub(super) stream: Stream,
    /// The number of members, readable without asking the room.
    pub(super) audience: MemberCount,
    /// Recent idempotency keys of the game server's publications.
    pub(super) repeats: RecentKeys,
    /// Set while an open channel lives on without members.
    pub(super) keep: Option<Keep>,
    /// The publish queue of a durable stream.
    pub(super) journal: PublishQueue,
    /// Requests that wait for the stored history to be read.
    pub(super) deferred: Vec<Deferred>,
    /// Requests that wait for the history to be removed.
    pub(super) removals: VecDeque<RpcReplyPort<Result<(), Failure>>>,
    /// True while a timer for expired publications is set.
    pub(super) is_prune_pending: bool,
    /// Requests that wait for the claim of a seat to be written.
    pub(super) claims: HashMap<u16, Vec<ClaimReply>>,
    /// Requests that wait for the release of a seat to be written.
    pub(super) releases: HashMap<u16, Vec<RpcReplyPort<Result<(), Refusal>>>>,
    /// Takeover requests for each seat; the move of the first is being written.
    pub(super) takes: HashMap<u16, VecDeque<TakeRequest>>,
    /// Requests that wait for the end of a seat's tokens to be written.
    pub(super) token_ends: HashMap<u16, RpcReplyPort<Result<Claimed, Refusal>>>,
    /// How often the room has become empty.
    pub(super) vacancy: u64,
    /// True if only the player who opened the room has ever held a seat. Unknown (false) for a restored room.
    pub(super) is_solitary: bool,
    pub(super) memory: Memory,
    pub(super) phase: Phase,
    pub(super) halt: ShutdownPhase,
    pub(super) share: Share,
    pub(super) _alive: LiveGauge,
}

/// The part of a room that an open channel lacks.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) id: RoomId,
    pub(super) code: RoomCode,
    pub(super) settings: Arc<RawValue>,
    pub(super) grace: Duration,
    pub(super) current_game_id: Option<Arc<str>>,
}

impl Profile {
    pub(super) fn stored(room: &StoredRoom) -> Profile {
        Profile {
            id: room.id,
            code: room.code,
            settings: settings(&room.settings),
            grace: room.grace,
            current_game_id: room.current_game_id.clone(),
        }
    }
}

/// Parses settings, which were checked when the room was opened; invalid JSON counts as no settings.
fn settings(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned())
        .unwrap_or_else(|_| {
            RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
        })
        .into()
}

/// How long the history of an open channel outlives its last member: the time of a reload or a quick reconnect. With
/// more, a client that tries names could fill the memory.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The state of an open channel's history, for which a client may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Empty,
    InUse,
    /// There are no members; the history is dropped in a moment.
    Fading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The close is being written.
    Closing,
    Closed,
    /// About to stop: a request has to look the room up again.
    Retired,
}

/// A claim's reply port, and the notice to its session that the claim has finished.
pub(super) struct ClaimReply {
    notice: Option<ClaimNotice>,
    reply: RpcReplyPort<Result<Claimed, Refusal>>,
    /// The response stored under the idempotency key: the answer even if the room has changed since.
    kept: Option<Box<Claimed>>,
}

impl ClaimReply {
    pub(super) fn new(request: ClaimRequest) -> ClaimReply {
        ClaimReply {
            notice: request.notice,
            reply: request.reply,
            kept: None,
        }
    }

    pub(super) fn keeping(request: ClaimRequest, kept: Option<Claimed>) -> ClaimReply {
        ClaimReply {
            kept: kept.map(Box::new),
            ..ClaimReply::new(request)
        }
    }

    /// Answers a claim that is committed for a user of this name. `now` returns the current state of the claim.
    pub(super) fn met(mut self, name: &Arc<str>, now: impl FnOnce() -> Result<Claimed, Refusal>) {
        let claimed = match self.kept.take() {
            Some(mut kept) => {
                kept.user.name = Arc::clone(name);
                kept.room.rename(&kept.user);
                Ok(*kept)
            }
            None => now(),
        };
        self.settle(claimed);
    }

    /// Sends the answer, after the session's notice: a connection that comes after the answer finds the seat.
    pub(super) fn settle(self, result: Result<Claimed, Refusal>) {
        drop(self.notice);
        crate::mailbox::answer(self.reply, result);
    }
}

impl Room {
    pub(super) fn now(&self) -> HubTime {
        self.context.clock.now()
    }

    /// Sets the publication's time to wall-clock time, which is what its receivers' clocks show.
    pub(super) fn show_time(&self, publication: &mut Publication) {
        publication.time = HubTime(self.context.clock.on_wall(publication.time).0);
    }

    /// Writes a change; the outcome comes back as [`RoomMessage::Settled`].
    pub(super) fn write(&self, write: impl Into<Write>, change: Change) {
        self.write_and(write, change, |_| ());
    }

    /// Like `write`; `hear` also runs if the room actor has failed by then.
    pub(super) fn write_and(
        &self,
        write: impl Into<Write>,
        change: Change,
        hear: impl FnOnce(&Result<Committed, WriteError>) + Send + 'static,
    ) {
        let me = self.me.clone();
        self.context.persistence.write_then(write, move |result| {
            hear(&result);
            // An error means that the room has since been rebuilt from the database.
            let _ = me.cast(RoomMessage::Settled { change, result });
        });
    }

    pub(super) async fn wake(&self, delay: Duration, wake: Wake) {
        if delay < REGISTRATION_TIME_MAX {
            self.me.send_after(delay, move || RoomMessage::Wake(wake));
            return;
        }
        self.context
            .wheels
            .of(&self.key)
            .after(delay, (self.key.clone(), wake))
            .await;
    }

    pub(super) fn notify(&self, session: SessionId, news: SeatEvent) {
        self.context.listener.hear(session, news);
    }

    /// Encodes a publication once per encoding, and queues it for every member.
    pub(super) fn spread(&mut self, publication: &Publication, since: Instant) {
        let channel = Arc::clone(&self.channel);
        let what = Push::Publication(publication);
        let frames = Shared::new(|encoding| push(encoding, &channel, &what));
        let timed = match self.members.is_empty() {
            true => None,
            false => self.share.timed(since),
        };
        if WriteBatcher::is(self.members.len()) {
            self.members.tell(frames, timed, Some(&mut self.crowd));
            if self.crowd.gather(publication.weight()) {
                self.look_after_crowd();
            }
        } else {
            self.members.tell(frames, timed, None);
        }
        let metrics = &self.context.metrics;
        metrics.published.increment(1);
        metrics.delivered.increment(self.members.len() as u64);
    }

    /// Flushes the batch of a crowd, unless more publications have arrived since the last look.
    pub(super) async fn rouse(&mut self) {
        if self.crowd.has_more() {
            // Yields first: publications that are about to arrive get in before the next look.
            tokio::task::yield_now().await;
            self.look_after_crowd();
        } else {
            self.crowd.rouse();
        }
    }

    fn look_after_crowd(&mut self) {
        if self.me.cast(RoomMessage::Rouse).is_err() {
            self.crowd.rouse();
        }
    }

    /// Returns a seat in the form that its holder's session gets. None in an open channel.
    pub(super) fn holding(&self, number: u16, occupant: &Occupant) -> Option<HeldSeat> {
        let profile = self.profile.as_ref()?;
        Some(HeldSeat {
            room: profile.id,
            code: profile.code,
            channel: Arc::clone(&self.channel),
            number,
            team: self.kind.team(number),
            grace: profile.grace,
            hold_until: occupant.hold_until,
            tokens: occupant.tokens,
        })
    }

    /// Returns whether a peer has a permission. A private channel admits by token alone, so `anyone` there means its
    /// members, regardless of the kind.
    pub(super) fn is_allowed(&self, permission: Permission, peer: &Peer) -> bool {
        if self.seating.is_outdated(peer.session, peer.epoch) {
            return false;
        }
        let is_member = || self.members.get(peer.connection).is_some();
        match permission {
            Permission::Seated => self.seating.seat_of(peer.session).is_some(),
            Permission::Members => is_member(),
            Permission::Anyone => !self.channel.starts_with(PRIVATE) || is_member(),
            Permission::Server => false,
        }
    }

    /// Returns the info that members see of a session with a seat here.
    pub(super) fn seat_info(&self, session: SessionId) -> Option<&Arc<RawValue>> {
        self.kind.seat_info(self.seating.seat_of(session)?)
    }

    /// Sends the matchmaker the number of free seats.
    pub(super) fn offer(&self) {
        let Some(profile) = &self.profile else {
            return;
        };
        if self.phase != Phase::Open || self.is_halted() {
            self.context.matchmaker.gone(profile.code);
            return;
        }
        let free = self.kind.free(|number| self.seating.is_empty(number));
        let kind = Arc::clone(&self.kind.name);
        self.context
            .matchmaker
            .supply(profile.code, Supply { kind, free });
    }

    pub(super) fn tell_shard(&self, message: ShardMessage<crate::room::registry::RoomBrood>) {
        self.context.shards.of(&self.key).tell(message);
    }

    /// Stops a room that was started by a lookup and is of no further use.
    pub(super) fn rest(&mut self) {
        if self.phase == Phase::Closed {
            self.go();
        }
        self.rest_if_unheard();
    }

    /// Returns whether this is an open channel without members that nothing keeps alive.
    pub(super) fn is_unheard(&self) -> bool {
        self.kind.is_open_channel() && self.members.is_empty() && self.keep.is_none()
    }

    /// Asks to be stopped if this is an open channel without members. A channel with a history lives a moment longer,
    /// and one to which a game's server has published a while longer.
    pub(super) fn rest_if_unheard(&mut self) {
        if !self.is_unheard() || self.phase != Phase::Open {
            return;
        }
        match self.memory {
            Memory::Empty => {
                let key = self.key.clone();
                self.tell_shard(ShardMessage::Idle { key });
            }
            Memory::InUse => {
                self.memory = Memory::Fading;
                self.vacancy += 1;
                let vacancy = self.vacancy;
                let wake = move || RoomMessage::Wake(Wake::Unheard { vacancy });
                self.me.send_after(REMEMBERED_FOR, wake);
            }
            Memory::Fading => {}
        }
    }

    /// Keeps the history in use: there is a member, which may return after a lost connection.
    pub(super) fn remember(&mut self) {
        if self.stream.has_history() {
            self.memory = Memory::InUse;
        }
    }

    /// Drops the history if no member has returned since.
    pub(super) fn forget(&mut self, vacancy: u64) {
        if self.memory == Memory::Fading && self.vacancy == vacancy {
            self.memory = Memory::Empty;
            self.rest_if_unheard();
        }
    }
}

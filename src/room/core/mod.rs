//! A room without IO: its seats, members and stream, and what follows from each input.
//!
//! [`Room::handle`] takes an input and the time, changes the room's state, and leaves [`Effect`]s: writes, timers,
//! answers and events, in order. It knows no actor, no database and no clock. The outcome of a write, a read or a
//! timer comes back as another input. An error means that the state contradicts the database: the room has to be
//! rebuilt from there.

mod dispatch;
pub(in crate::room) mod effect;
pub(in crate::room) mod seat;
pub(in crate::room) mod shutdown;
mod start;
pub(in crate::room) mod stream;
pub(in crate::room) mod view;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::RpcReplyPort;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use self::effect::{Answer, Effect, Lifecycle};
use self::shutdown::ShutdownPhase;
use self::stream::history_loader::Deferred;
use self::stream::server_api::Keep;
use crate::clock::{HubTime, Moment};
use crate::config::Permission;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::matchmaking::Supply;
use crate::persistence::{StoredRoom, Write};
use crate::room::handle::RoomKey;
use crate::room::message::{Change, ClaimRequest, Claimed, ExtendedHold, TakeRequest, Wake};
use crate::room::metric::{RoomMetrics, Share};
use crate::room::rules::kind::{Kind, PRIVATE};
use crate::room::rules::members::{Members, Peer};
use crate::room::rules::publish_dedup::RecentKeys;
use crate::room::rules::publish_queue::{PublishQueue, PublishReply, StreamPosition};
use crate::room::rules::seats::{Occupant, Seats};
use crate::room::rules::stream::Stream;
use crate::room::rules::write_batching::WriteBatcher;
use crate::room::seat_event::{ClaimNotice, HeldSeat, SeatEvent};
use crate::wire::{Failure, Publication, Push, Refusal, Shared, push};

/// A live room with all its state.
pub(in crate::room) struct Room {
    pub(in crate::room) identity: Identity,
    seating: Seats,
    pub(in crate::room) members: Members,
    crowd: WriteBatcher,
    pub(in crate::room) stream: Stream,
    /// The publish queue of a durable stream.
    journal: PublishQueue,
    /// Recent idempotency keys of the game server's publications.
    repeats: RecentKeys,
    waiting: Waiting,
    life: Life,
    shared: SharedState,
    /// The time of the input that is being handled.
    now: Moment,
    effects: Vec<Effect>,
}

/// The identity of a room, which never changes.
pub(in crate::room) struct Identity {
    pub(in crate::room) key: RoomKey,
    pub(in crate::room) channel: Arc<str>,
    pub(in crate::room) kind: Arc<Kind>,
    /// None for an open channel.
    pub(in crate::room) profile: Option<Profile>,
}

/// The requests that wait for something to be written or read.
#[derive(Default)]
struct Waiting {
    /// For the history to be read.
    deferred: Vec<Deferred>,
    /// For the history to be removed.
    removals: VecDeque<RpcReplyPort<Result<(), Failure>>>,
    /// For the claim of a seat.
    claims: HashMap<u16, Vec<ClaimReply>>,
    /// For the release of a seat.
    releases: HashMap<u16, Vec<RpcReplyPort<Result<(), Refusal>>>>,
    /// Takeovers of each seat; the move of the first is being written.
    takes: HashMap<u16, VecDeque<TakeRequest>>,
    /// For the end of a seat's tokens.
    token_ends: HashMap<u16, RpcReplyPort<Result<Claimed, Refusal>>>,
    /// Extensions of holds, by the numbers of their requests, with the answers.
    holds: HashMap<u64, (RpcReplyPort<Result<ExtendedHold, Refusal>>, ExtendedHold)>,
    /// The number of extensions so far.
    holds_asked: u64,
}

/// How far the room is in its life.
struct Life {
    phase: Phase,
    halt: ShutdownPhase,
    /// How often the room has become empty.
    vacancy: u64,
    /// True if only the player who opened the room has ever held a seat. Unknown (false) for a restored room.
    is_solitary: bool,
    memory: Memory,
    /// Set while an open channel lives on without members.
    keep: Option<Keep>,
    /// True while a timer for expired publications is set.
    is_prune_pending: bool,
}

/// Limits and metrics that all rooms share, and the part of this room in the gauges.
pub(in crate::room) struct SharedState {
    pub(in crate::room) metrics: Arc<RoomMetrics>,
    pub(in crate::room) gauges: Share,
    pub(in crate::room) recovery_max: usize,
    /// One permit for each open channel that lives on without members.
    pub(in crate::room) unheard: Arc<Semaphore>,
}

/// The room's state contradicts the database, or may do so: it has to be rebuilt from there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::room) struct Contradiction(String);

impl From<String> for Contradiction {
    fn from(what: String) -> Contradiction {
        Contradiction(what)
    }
}

impl From<&str> for Contradiction {
    fn from(what: &str) -> Contradiction {
        Contradiction(what.to_owned())
    }
}

/// The part of a room that an open channel lacks.
#[derive(Debug)]
pub(in crate::room) struct Profile {
    pub(in crate::room) id: RoomId,
    pub(in crate::room) code: RoomCode,
    pub(in crate::room) settings: Arc<RawValue>,
    pub(in crate::room) grace: Duration,
    pub(in crate::room) current_game_id: Option<Arc<str>>,
}

impl Profile {
    pub(in crate::room) fn stored(room: &StoredRoom) -> Profile {
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
enum Memory {
    Empty,
    InUse,
    /// There are no members; the history is dropped in a moment.
    Fading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) enum Phase {
    Open,
    /// The close is being written.
    Closing,
    Closed,
    /// About to stop: a request has to look the room up again.
    Retired,
}

/// A claim's reply port, and the notice to its session that the claim has finished.
#[derive(Debug)]
pub(in crate::room) struct ClaimReply {
    notice: Option<ClaimNotice>,
    reply: RpcReplyPort<Result<Claimed, Refusal>>,
    /// The response stored under the idempotency key: the answer even if the room has changed since.
    kept: Option<Box<Claimed>>,
}

impl ClaimReply {
    pub(in crate::room) fn new(request: ClaimRequest) -> ClaimReply {
        ClaimReply {
            notice: request.notice,
            reply: request.reply,
            kept: None,
        }
    }

    pub(in crate::room) fn keeping(request: ClaimRequest, kept: Option<Claimed>) -> ClaimReply {
        ClaimReply {
            kept: kept.map(Box::new),
            ..ClaimReply::new(request)
        }
    }

    /// Returns the stored answer to a claim that is committed for a user of this name, if there is one.
    fn kept(&mut self, name: &Arc<str>) -> Option<Claimed> {
        let mut kept = self.kept.take()?;
        kept.user.name = Arc::clone(name);
        kept.room.rename(&kept.user);
        Some(*kept)
    }

    /// Sends the answer, after the session's notice: a connection that comes after the answer finds the seat.
    pub(in crate::room) fn settle(self, result: Result<Claimed, Refusal>) {
        drop(self.notice);
        crate::mailbox::answer(self.reply, result);
    }
}

impl Room {
    pub(in crate::room) fn now(&self) -> HubTime {
        self.now.hub
    }

    /// Returns the effects of the inputs since the last call.
    pub(in crate::room) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn answer<T>(&mut self, port: RpcReplyPort<T>, value: T)
    where
        Answer: From<(RpcReplyPort<T>, T)>,
    {
        self.push(Effect::Answer(Box::new((port, value).into())));
    }

    fn answer_claim(&mut self, claim: ClaimReply, result: Result<Claimed, Refusal>) {
        self.push(Effect::Claimed(claim, Box::new(result)));
    }

    fn answer_publisher(&mut self, reply: PublishReply, result: Result<StreamPosition, Failure>) {
        self.push(Effect::Published(reply, result));
    }

    pub(in crate::room) fn id(&self) -> Option<RoomId> {
        self.identity.profile.as_ref().map(|profile| profile.id)
    }

    /// Sets the publication's time to wall-clock time, which is what its receivers' clocks show.
    fn show_time(&self, publication: &mut Publication) {
        publication.time = HubTime(self.now.on_wall(publication.time).0);
    }

    /// Writes a change; its outcome comes back as an input.
    fn write(&mut self, write: impl Into<Write>, change: Change) {
        self.write_since(write.into(), change, self.now.at);
    }

    fn write_since(&mut self, write: Write, change: Change, since: Instant) {
        self.push(Effect::Write {
            write: Box::new(write),
            change,
            since,
        });
    }

    fn wake(&mut self, after: Duration, wake: Wake) {
        self.push(Effect::Wake { after, wake });
    }

    fn notify(&mut self, session: SessionId, event: SeatEvent) {
        self.push(Effect::Notify(session, event));
    }

    /// Encodes a publication once per encoding, and queues it for every member.
    pub(in crate::room) fn spread(&mut self, publication: &Publication, since: Instant) {
        let channel = Arc::clone(&self.identity.channel);
        let what = Push::Publication(publication);
        let frames = Shared::new(|encoding| push(encoding, &channel, &what));
        let timed = match self.members.is_empty() {
            true => None,
            false => self.shared.gauges.timed(since),
        };
        if WriteBatcher::is(self.members.len()) {
            self.members.tell(frames, timed, Some(&mut self.crowd));
            if self.crowd.gather(publication.weight()) {
                self.push(Effect::LookAfterCrowd);
            }
        } else {
            self.members.tell(frames, timed, None);
        }
        let metrics = &self.shared.metrics;
        metrics.published.increment(1);
        metrics.delivered.increment(self.members.len() as u64);
    }

    /// Returns whether the batch of a crowd has grown since the last look.
    pub(in crate::room) fn is_crowd_growing(&mut self) -> bool {
        self.crowd.has_more()
    }

    /// Flushes the batch of a crowd.
    pub(in crate::room) fn rouse(&mut self) {
        self.crowd.rouse();
    }

    /// Returns a seat in the form that its holder's session gets. None in an open channel.
    pub(in crate::room) fn holding(&self, number: u16, occupant: &Occupant) -> Option<HeldSeat> {
        let profile = self.identity.profile.as_ref()?;
        Some(HeldSeat {
            room: profile.id,
            code: profile.code,
            channel: Arc::clone(&self.identity.channel),
            number,
            team: self.identity.kind.team(number),
            grace: profile.grace,
            hold_until: occupant.hold_until,
            tokens: occupant.tokens,
        })
    }

    /// Returns whether a peer has a permission. A private channel admits by token alone, so `anyone` there means its
    /// members, regardless of the kind.
    pub(in crate::room) fn is_allowed(&self, permission: Permission, peer: &Peer) -> bool {
        if self.seating.is_outdated(peer.session, peer.epoch) {
            return false;
        }
        let is_member = || self.members.get(peer.connection).is_some();
        match permission {
            Permission::Seated => self.seating.seat_of(peer.session).is_some(),
            Permission::Members => is_member(),
            Permission::Anyone => !self.identity.channel.starts_with(PRIVATE) || is_member(),
            Permission::Server => false,
        }
    }

    /// Returns the info that members see of a session with a seat here.
    pub(in crate::room) fn seat_info(&self, session: SessionId) -> Option<&Arc<RawValue>> {
        self.identity.kind.seat_info(self.seating.seat_of(session)?)
    }

    /// Sends the matchmaker the number of free seats.
    fn offer(&mut self) {
        let Identity { kind, profile, .. } = &self.identity;
        let Some(Profile { code, .. }) = profile else {
            return;
        };
        let supply = (self.life.phase == Phase::Open && !self.is_halted()).then(|| Supply {
            kind: Arc::clone(&kind.name),
            free: kind.free(|number| self.seating.is_empty(number)),
        });
        self.push(Effect::Supply(*code, supply));
    }

    /// Stops a room that was started by a lookup and is of no further use.
    pub(in crate::room) fn rest(&mut self) {
        if self.life.phase == Phase::Closed {
            self.go();
        }
        self.rest_if_unheard();
    }

    /// Returns whether this is an open channel without members that nothing keeps alive.
    pub(in crate::room) fn is_unheard(&self) -> bool {
        self.identity.kind.is_open_channel() && self.members.is_empty() && self.life.keep.is_none()
    }

    /// Asks to be stopped if this is an open channel without members. A channel with a history lives a moment longer,
    /// and one to which a game's server has published a while longer.
    pub(in crate::room) fn rest_if_unheard(&mut self) {
        if !self.is_unheard() || self.life.phase != Phase::Open {
            return;
        }
        match self.life.memory {
            Memory::Empty => {
                self.push(Effect::Shard(Lifecycle::Idle));
            }
            Memory::InUse => {
                self.life.memory = Memory::Fading;
                self.life.vacancy += 1;
                let vacancy = self.life.vacancy;
                self.wake(REMEMBERED_FOR, Wake::Unheard { vacancy });
            }
            Memory::Fading => {}
        }
    }

    /// Keeps the history in use: there is a member, which may return after a lost connection.
    pub(in crate::room) fn remember(&mut self) {
        if self.stream.has_history() {
            self.life.memory = Memory::InUse;
        }
    }

    /// Drops the history if no member has returned since.
    pub(in crate::room) fn forget(&mut self, vacancy: u64) {
        if self.life.memory == Memory::Fading && self.life.vacancy == vacancy {
            self.life.memory = Memory::Empty;
            self.rest_if_unheard();
        }
    }
}

//! A live room: its seats, members and stream, and the common ground of what happens in it.

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

/// A room that starts is in the directory, through which it is woken, well before this. A shorter wait
/// needs no directory, at the price of a timer of its own.
const REGISTRATION_TIME_MAX: Duration = Duration::from_secs(1);

/// A room with all that it owns.
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
    /// How many members others see from outside.
    pub(super) audience: MemberCount,
    /// Publications of the game's server that may be sent again.
    pub(super) repeats: RecentKeys,
    /// Set while an open channel lives on without members.
    pub(super) keep: Option<Keep>,
    /// What is on its way into a durable stream.
    pub(super) journal: PublishQueue,
    /// Requests that wait for the past of the stream to be read.
    pub(super) deferred: Vec<Deferred>,
    /// Who waits for the history to be removed.
    pub(super) removals: VecDeque<RpcReplyPort<Result<(), Failure>>>,
    /// A look for what has become too old is ahead.
    pub(super) is_prune_pending: bool,
    /// Who waits for the claim of a seat to be written.
    pub(super) claims: HashMap<u16, Vec<ClaimReply>>,
    /// Who waits for the release of a seat to be written.
    pub(super) releases: HashMap<u16, Vec<RpcReplyPort<Result<(), Refusal>>>>,
    /// Seat tokens that were presented for a seat: the first one's move is being written.
    pub(super) takes: HashMap<u16, VecDeque<TakeRequest>>,
    /// Who waits for the end of a seat's tokens to be written.
    pub(super) token_ends: HashMap<u16, RpcReplyPort<Result<Claimed, Refusal>>>,
    /// Counts how often the room was left empty.
    pub(super) vacancy: u64,
    /// Nobody has taken a seat but the player with whom it was opened. Not known of a room that was restored.
    pub(super) is_solitary: bool,
    pub(super) memory: Memory,
    pub(super) phase: Phase,
    pub(super) halt: ShutdownPhase,
    pub(super) share: Share,
    pub(super) _alive: LiveGauge,
}

/// What a room with seats has beside its channel.
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

/// Settings were checked when the room was opened; whatever else is found counts as none.
fn settings(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned())
        .unwrap_or_else(|_| {
            RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
        })
        .into()
}

/// How long the history of an open channel outlives its last listener: what a reload or a quick reconnect takes.
/// More would let a client that tries names fill the memory.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// Whether an open channel has a history that somebody may come back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Empty,
    InUse,
    /// Nobody listens; it is forgotten in a moment.
    Fading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Its end is being written.
    Closing,
    Closed,
    /// Told to go: whoever still asks must look again.
    Retired,
}

/// Who made a claim, and how its session hears that it is over.
pub(super) struct ClaimReply {
    notice: Option<ClaimNotice>,
    reply: RpcReplyPort<Result<Claimed, Refusal>>,
    /// What is kept under the claim's key: its answer then, whatever else has happened meanwhile.
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

    /// The claim is committed, by a user of this name. `now` tells how it looks at this moment.
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

    /// The session hears it first: a connection that comes after the answer finds the seat.
    pub(super) fn settle(self, result: Result<Claimed, Refusal>) {
        drop(self.notice);
        crate::mailbox::answer(self.reply, result);
    }
}

impl Room {
    pub(super) fn now(&self) -> HubTime {
        self.context.clock.now()
    }

    /// Has a publication carry the time that its receivers' clocks show.
    pub(super) fn show_time(&self, publication: &mut Publication) {
        publication.time = HubTime(self.context.clock.on_wall(publication.time).0);
    }

    /// Writes a change; persistence tells when it is settled.
    pub(super) fn write(&self, write: impl Into<Write>, change: Change) {
        self.write_and(write, change, |_| ());
    }

    /// The same, and has somebody hear of it even if the room fails meanwhile.
    pub(super) fn write_and(
        &self,
        write: impl Into<Write>,
        change: Change,
        hear: impl FnOnce(&Result<Committed, WriteError>) + Send + 'static,
    ) {
        let me = self.me.clone();
        self.context.persistence.write_then(write, move |result| {
            hear(&result);
            // The room was rebuilt meanwhile, and has read the truth.
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

    /// Encodes a publication once in each encoding, and queues it for every member.
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

    /// Looks whether somebody in a crowd is about to say more. If not, the sockets are woken.
    pub(super) async fn rouse(&mut self) {
        if self.crowd.has_more() {
            // Whoever is about to say more gets in before the next look.
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

    /// A seat as its holder's session is told of it. None in an open channel.
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

    /// Returns whether somebody has a right. A private channel lets in by token alone, so `anyone` there means its
    /// members, whatever the kind says.
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

    /// What members see of a session that sits here.
    pub(super) fn seat_info(&self, session: SessionId) -> Option<&Arc<RawValue>> {
        self.kind.seat_info(self.seating.seat_of(session)?)
    }

    /// Tells the matchmaker how many seats are free now.
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

    /// Goes, if whoever had the room started has no more use for it.
    pub(super) fn rest(&mut self) {
        if self.phase == Phase::Closed {
            self.go();
        }
        self.rest_if_unheard();
    }

    /// Whether this is an open channel that nobody listens to, and that nothing is kept for.
    pub(super) fn is_unheard(&self) -> bool {
        self.kind.is_open_channel() && self.members.is_empty() && self.keep.is_none()
    }

    /// An open channel lives while somebody listens, a moment longer if there is something to come back for, and a while
    /// longer if a game's server has spoken.
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

    /// Somebody listens, who may come back after a lost line.
    pub(super) fn remember(&mut self) {
        if self.stream.has_history() {
            self.memory = Memory::InUse;
        }
    }

    /// Nobody has come back since.
    pub(super) fn forget(&mut self, vacancy: u64) {
        if self.memory == Memory::Fading && self.vacancy == vacancy {
            self.memory = Memory::Empty;
            self.rest_if_unheard();
        }
    }
}

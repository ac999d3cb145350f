//! A live session: its connection, its seats, and what it waits for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};
use serde_json::value::RawValue;

use super::ending::Ending;
use super::seats::Seats;
use crate::clock::HubTime;
use crate::delivery::Outbound;
use crate::id::RoomId;
use crate::mailbox::answer;
use crate::persistence::SoftWrite;
use crate::room::{AttachSeq, HeldSeat, RoomKey, SeatEvent};
use crate::session::handle::{Attachment, ConnectOrder, Known};
use crate::session::message::{Attached, Report, SessionMessage};
use crate::session::metric::Counted;
use crate::session::registry::{SessionBrood, SessionContext};
use crate::supervisor::{LiveGauge, ShardMessage};
use crate::wire::{Close, Frame, Push, Reason, Refusal, push};

/// How long a session that nobody is attached to and that holds no seat stays, after it was looked
/// up: a little more than the longest question takes.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// How often the life of an attached session slides on: late by an eighth at most, so that a crash takes
/// no more of it. The limits keep the marks of a short life and of 100,000 sessions few.
const SLIDES_PER_LIFE: u32 = 8;
const SLIDE_EVERY_MIN: Duration = Duration::from_secs(1);
const SLIDE_EVERY_MAX: Duration = Duration::from_hours(1);

/// A session with all that it owns.
pub(crate) struct Session {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) me: ActorRef<SessionMessage>,
    pub(crate) known: Arc<Known>,
    pub(crate) expires_at: HubTime,
    /// When its life is to slide on, if it is still attached then. None while nothing will wake it for that.
    pub(crate) slides_at: Option<HubTime>,
    pub(crate) phase: Phase,
    /// The order of the newest connection among the connects.
    pub(crate) order: ConnectOrder,
    /// The newest attachment, also after it has ended.
    pub(crate) epoch: AttachSeq,
    pub(crate) seats: Seats,
    /// Claims that are being made.
    pub(crate) claims: usize,
    /// A connection that waits until no claim is under way.
    pub(crate) waiting: Option<PendingAttach>,
    /// A connection that waits until each room has confirmed its seat.
    pub(crate) arriving: Option<AttachInProgress>,
    pub(crate) ending: Option<Ending>,
    /// When the client is to be sent new seat tokens; none while that is not awaited.
    pub(crate) renew_at: Option<HubTime>,
    pub(crate) _counted: Counted,
    pub(crate) _alive: LiveGauge,
}

pub(crate) enum Phase {
    Away,
    Attached(Link),
    /// Its end is being written; the connection, if there is one, ends with it.
    Ending(Option<Link>),
    Ended,
    /// Told to go: whoever still asks must look again.
    Retired,
}

/// A connection that has come.
pub(crate) struct PendingAttach {
    outbound: Outbound,
    reply: RpcReplyPort<Result<Attached, Refusal>>,
}

pub(crate) struct AttachInProgress {
    awaited: BTreeSet<RoomId>,
    pub(crate) reply: RpcReplyPort<Result<Attached, Refusal>>,
}

/// The attached connection. Dropped without a goodbye, because the session has failed, it sends the
/// client to connect again.
pub(crate) struct Link {
    outbound: Outbound,
    is_dismissed: bool,
    _counted: Counted,
}

impl Link {
    /// Ends it with a reason of its own.
    pub(crate) fn cut(mut self, close: Close) {
        self.is_dismissed = true;
        self.outbound.cut(close);
    }

    /// Ends it after what is queued: the client may have asked for this end, and hears the answer.
    pub(crate) fn close(mut self, last_words: Option<Frame>, close: Close) {
        self.is_dismissed = true;
        if let Some(frame) = last_words {
            // Full or closed: the connection is ending already.
            let _ = self.outbound.offer(frame);
        }
        self.outbound.close(close);
    }

    /// Sends the client something beside all channels.
    pub(crate) fn message(&self, data: &RawValue) {
        let frame = push(self.outbound.encoding(), "", &Push::Message { data });
        // Full or closed: the connection is ending already.
        let _ = self.outbound.offer(frame);
    }

    /// The connection has gone by itself.
    fn dismiss(mut self) {
        self.is_dismissed = true;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_dismissed {
            self.outbound.cut(Close::ForceReconnect);
        }
    }
}

/// The next attachment of any session. The counter outlives the sessions, so a session that is
/// started again is never behind what its rooms have heard.
pub(crate) fn next_epoch() -> AttachSeq {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    AttachSeq(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Session {
    pub(crate) fn now(&self) -> HubTime {
        self.context.clock.now()
    }

    pub(crate) fn attach(
        &mut self,
        outbound: Outbound,
        order: ConnectOrder,
        reply: RpcReplyPort<Result<Attached, Refusal>>,
    ) {
        if let Err(refusal) = self.check_live() {
            answer(reply, Err(refusal));
            return;
        }
        if outbound.is_closed() {
            answer(reply, Err(Refusal::unavailable()));
            return;
        }
        let is_anybody_here = self.waiting.is_some() || matches!(self.phase, Phase::Attached(_));
        if is_anybody_here && order < self.order {
            // It began before the one that is here, and was only slower.
            outbound.cut(Close::Replaced);
            answer(reply, Err(Refusal::unavailable()));
            return;
        }
        self.order = order;
        if let Some(older) = self.waiting.replace(PendingAttach { outbound, reply }) {
            older.outbound.cut(Close::Replaced);
            answer(older.reply, Err(Refusal::unavailable()));
        }
        self.advance();
    }

    /// The connection of that epoch is gone.
    pub(crate) fn detached(&mut self, epoch: AttachSeq) {
        if epoch != self.epoch {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Attached(link) => link.dismiss(),
            Phase::Ending(link) => {
                self.phase = Phase::Ending(None);
                if let Some(link) = link {
                    link.dismiss();
                }
                return;
            }
            other @ (Phase::Away | Phase::Ended | Phase::Retired) => {
                self.phase = other;
                return;
            }
        }
        self.turn_away();
    }

    /// Tells the rooms that nobody is attached any more.
    pub(crate) fn turn_away(&mut self) {
        self.arriving = None;
        if self.context.is_stopping() {
            return;
        }
        self.seen();
        let now = self.now();
        for seat in self.seats.iter_mut() {
            seat.hold_until = Some(now.plus(seat.grace));
        }
        for room in self.rooms() {
            room.away(self.known.id, self.epoch);
        }
        self.rest_if_idle();
    }

    /// A room has news.
    pub(crate) fn hear(&mut self, news: SeatEvent) {
        match news {
            SeatEvent::Gained { seat, epoch } => self.gained(seat, epoch),
            SeatEvent::Confirmed { room, epoch, seat } => {
                if epoch == self.epoch {
                    match seat {
                        Some(seat) => self.seats.insert(seat),
                        None => self.seats.remove(room),
                    }
                    self.arrived_at(room);
                }
            }
            SeatEvent::Released { room } => {
                self.seats.remove(room);
                self.arrived_at(room);
            }
            SeatEvent::Extended { room, hold_until } => {
                if let Some(seat) = self.seats.get_mut(room)
                    && seat.hold_until.is_some()
                {
                    seat.hold_until = Some(hold_until);
                }
            }
            SeatEvent::TakenOver { room } => self.taken_over(room),
            SeatEvent::TokensEnded { room, tokens } => self.tokens_ended(room, tokens),
            SeatEvent::Unsure { room } => self.find_out(room),
            SeatEvent::Restored { seat } if matches!(self.phase, Phase::Ended) => {
                self.gave_up(&seat);
            }
            SeatEvent::Restored { seat } => {
                if matches!(self.phase, Phase::Attached(_)) {
                    self.tell_back(&seat);
                }
                self.seats.insert(seat);
            }
        }
        self.advance();
        self.rest_if_idle();
    }

    /// Tells the room at once if the connection came or went while the seat was being written.
    fn gained(&mut self, mut seat: HeldSeat, epoch: AttachSeq) {
        let key = RoomKey::Code(seat.code);
        let is_away = seat.hold_until.is_some();
        match (&self.phase, self.context.rooms.live(&key)) {
            (Phase::Attached(_), Some(room)) if is_away || epoch != self.epoch => {
                seat.hold_until = None;
                room.back(self.known.id, self.epoch);
            }
            (Phase::Away, Some(room)) if !is_away => {
                seat.hold_until = Some(self.now().plus(seat.grace));
                room.away(self.known.id, epoch);
            }
            (
                Phase::Attached(_) | Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired,
                _,
            ) => {}
        }
        self.seats.insert(seat);
    }

    pub(crate) fn arrived_at(&mut self, room: RoomId) {
        if let Some(arriving) = &mut self.arriving {
            arriving.awaited.remove(&room);
        }
    }

    /// Takes the next step of whoever waits.
    pub(crate) fn advance(&mut self) {
        if self.claims > 0 {
            return;
        }
        if let Some(arrival) = self.waiting.take() {
            self.begin_arrival(arrival);
        }
        if self
            .arriving
            .as_ref()
            .is_some_and(|arriving| arriving.awaited.is_empty())
            && let Some(arriving) = self.arriving.take()
        {
            let attached = Attached {
                attachment: Attachment::new(self.epoch, self.me.clone()),
                report: self.report(),
            };
            answer(arriving.reply, Ok(attached));
        }
        if self.ending.is_some() && self.arriving.is_none() && self.is_live() {
            self.write_end();
        }
    }

    /// The newcomer takes over at once; its rooms hear of it before it does.
    fn begin_arrival(&mut self, arrival: PendingAttach) {
        self.epoch = next_epoch();
        if let Phase::Attached(older) = std::mem::replace(&mut self.phase, Phase::Away) {
            self.context.metrics.take_overs.increment(1);
            older.cut(Close::Replaced);
        }
        self.phase = Phase::Attached(Link {
            outbound: arrival.outbound,
            is_dismissed: false,
            _counted: self.context.metrics.attached(),
        });
        self.seen();
        for seat in self.seats.iter_mut() {
            seat.hold_until = None;
        }
        for seat in self.seats.iter() {
            self.tell_back(seat);
        }
        let arriving = AttachInProgress {
            awaited: self.seats.iter().map(|seat| seat.room).collect(),
            reply: arrival.reply,
        };
        if let Some(older) = self.arriving.replace(arriving) {
            // Answered, not dropped: an asker whose question was lost would ask again.
            answer(older.reply, Err(Refusal::unavailable()));
        }
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            expires_at: self.context.clock.on_wall(self.token_until()),
            seats: self.seats.iter().cloned().collect(),
            is_attached: matches!(self.phase, Phase::Attached(_)),
            is_claiming: self.claims > 0,
        }
    }

    /// The shard asks whether the session can go.
    pub(crate) fn retire(&mut self) {
        let key = self.known.id;
        if self.is_idle() {
            self.phase = Phase::Retired;
            self.tell_shard(ShardMessage::Goes { key });
        } else {
            self.tell_shard(ShardMessage::Stays { key });
        }
    }

    /// A session that is away and holds no seat is a row, not an actor.
    pub(crate) fn rest_if_idle(&self) {
        if self.is_idle() {
            let key = self.known.id;
            self.tell_shard(ShardMessage::Idle { key });
        }
    }

    /// Looks later whether whoever had the session started has any use for it.
    pub(crate) async fn rest_later(&self) {
        let id = self.known.id;
        self.context.wheels.of(&id).after(IDLE_AFTER, id).await;
    }

    /// Its life slides on while it is attached, not only as its connection comes and goes.
    pub(crate) async fn slide_later(&mut self) {
        if self.slides_at.is_none() && matches!(self.phase, Phase::Attached(_)) {
            let ttl = self.context.ttl;
            let wait = (ttl / SLIDES_PER_LIFE).clamp(SLIDE_EVERY_MIN, SLIDE_EVERY_MAX);
            self.slides_at = Some(self.now().plus(wait));
            let id = self.known.id;
            self.context.wheels.of(&id).after(wait, id).await;
        }
    }

    /// A deadline has come: nobody may need the session, or its life slides on.
    pub(crate) fn woken(&mut self) {
        if self.slides_at.is_some_and(|at| at <= self.now()) {
            self.slides_at = None;
            if matches!(self.phase, Phase::Attached(_)) {
                self.seen();
            }
        }
        self.rest_if_idle();
    }

    /// Its life slides on with each use.
    pub(crate) fn seen(&mut self) {
        let at = self.now();
        self.expires_at = at.plus(self.context.ttl);
        self.context.persistence.mark(SoftWrite::SessionSeen {
            session: self.known.id,
            user: self.known.user.id.clone(),
            at,
            expires_at: self.expires_at,
            login_until: self.known.login.get(),
        });
    }

    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Away)
            && self.seats.is_empty()
            && self.claims == 0
            && self.waiting.is_none()
            && self.ending.is_none()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Away | Phase::Attached(_))
    }

    pub(crate) fn check_live(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Away | Phase::Attached(_) => Ok(()),
            Phase::Ending(_) | Phase::Retired => Err(Refusal::unavailable()),
            Phase::Ended => Err(Refusal::new(Reason::SessionEnded, "the session has ended")),
        }
    }

    pub(crate) fn tell_shard(&self, message: ShardMessage<SessionBrood>) {
        self.context.shards.of(&self.known.id).tell(message);
    }
}

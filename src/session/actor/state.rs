//! The state of a live session, and the rules by which connections attach and leave.
//!
//! The order of an attachment: claims under way finish; the newest connection replaces the attached one and gets the
//! next attach sequence; each room confirms its seat; then the connect is answered. Only the newest connection waits:
//! an older one that waits or is attached is closed as replaced.

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

/// How long an away session without seats stays live after a lookup: a little longer than the slowest request to it.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Extensions per life of an attached session: the stored end is late by an eighth at most, so a crash costs no more
/// than that. The limits below keep coalesced writes few for a short life, and for 100,000 sessions.
const SLIDES_PER_LIFE: u32 = 8;
const SLIDE_EVERY_MIN: Duration = Duration::from_secs(1);
const SLIDE_EVERY_MAX: Duration = Duration::from_hours(1);

/// A session with all its state.
pub(crate) struct Session {
    pub(crate) context: Arc<SessionContext>,
    pub(crate) me: ActorRef<SessionMessage>,
    pub(crate) known: Arc<Known>,
    pub(crate) expires_at: HubTime,
    /// When to extend its life, if it is still attached then. None while no wake-up is scheduled for that.
    pub(crate) slides_at: Option<HubTime>,
    pub(crate) phase: Phase,
    /// The connect order of the newest connection.
    pub(crate) order: ConnectOrder,
    /// The attach sequence of the newest attachment, also after it has ended.
    pub(crate) epoch: AttachSeq,
    pub(crate) seats: Seats,
    /// The number of claims under way.
    pub(crate) claims: usize,
    /// A connection that waits until no claim is under way.
    pub(crate) waiting: Option<PendingAttach>,
    /// A connection that waits until each room has confirmed its seat.
    pub(crate) arriving: Option<AttachInProgress>,
    pub(crate) ending: Option<Ending>,
    /// When to send the client new seat tokens; none while no renewal is scheduled.
    pub(crate) renew_at: Option<HubTime>,
    pub(crate) _counted: Counted,
    pub(crate) _alive: LiveGauge,
}

pub(crate) enum Phase {
    Away,
    Attached(Link),
    /// The end or the adoption is being written; an attached connection closes with it.
    Ending(Option<Link>),
    Ended,
    /// The shard is about to stop this actor: a later caller must look the session up again.
    Retired,
}

/// A connection that waits for the claims under way.
pub(crate) struct PendingAttach {
    outbound: Outbound,
    pub(crate) reply: RpcReplyPort<Result<Attached, Refusal>>,
}

pub(crate) struct AttachInProgress {
    awaited: BTreeSet<RoomId>,
    pub(crate) reply: RpcReplyPort<Result<Attached, Refusal>>,
}

/// The attached connection. If it is dropped without a close because the session has failed, it makes the client
/// reconnect.
pub(crate) struct Link {
    outbound: Outbound,
    is_dismissed: bool,
    _counted: Counted,
}

impl Link {
    /// Closes the connection at once, with this close code.
    pub(crate) fn cut(mut self, close: Close) {
        self.is_dismissed = true;
        self.outbound.cut(close);
    }

    /// Closes the connection after the queued frames: the client may have requested this end, and receives the answer.
    pub(crate) fn close(mut self, last_words: Option<Frame>, close: Close) {
        self.is_dismissed = true;
        if let Some(frame) = last_words {
            // Full or closed: the connection is ending already.
            let _ = self.outbound.offer(frame);
        }
        self.outbound.close(close);
    }

    /// Sends the client a push message that belongs to no channel.
    pub(crate) fn message(&self, data: &RawValue) {
        let frame = push(self.outbound.encoding(), "", &Push::Message { data });
        // Full or closed: the connection is ending already.
        let _ = self.outbound.offer(frame);
    }

    /// Drops the link of a connection that has closed by itself.
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

/// Returns the next attach sequence, over all sessions. The counter outlives the sessions, so a restarted session is
/// never behind the sequence that its rooms have received.
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
            // It began before the present connection, and was only slower.
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

    /// Handles the close of a connection. One with an older attach sequence has been replaced already.
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

    /// Starts the holds of the seats, and sends the rooms that the session is away. Does not touch the seats while the
    /// hub stops.
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

    /// Applies a seat event from a room.
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

    /// Adds a new seat. Notifies the room at once if the connection changed while the seat was being written.
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

    /// Takes the next possible step: a waiting connection, then its answer, then a pending end. Claims go first.
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

    /// Attaches a connection in place of the older one. The rooms receive that before the client does.
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
            // Answered, not dropped: a dropped reply makes the caller ask again.
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

    /// Retires the session if it is idle, and answers the shard.
    pub(crate) fn retire(&mut self) {
        let key = self.known.id;
        if self.is_idle() {
            self.phase = Phase::Retired;
            self.tell_shard(ShardMessage::Goes { key });
        } else {
            self.tell_shard(ShardMessage::Stays { key });
        }
    }

    /// Reports the session to its shard if it is idle: away and without a seat, it need only be a row.
    pub(crate) fn rest_if_idle(&self) {
        if self.is_idle() {
            let key = self.known.id;
            self.tell_shard(ShardMessage::Idle { key });
        }
    }

    /// Schedules a check if the session, which was started for a lookup, is still idle.
    pub(crate) async fn rest_later(&self) {
        let id = self.known.id;
        self.context.wheels.of(&id).after(IDLE_AFTER, id).await;
    }

    /// Schedules the next extension of the session's life while it is attached.
    pub(crate) async fn slide_later(&mut self) {
        if self.slides_at.is_none() && matches!(self.phase, Phase::Attached(_)) {
            let ttl = self.context.ttl;
            let wait = (ttl / SLIDES_PER_LIFE).clamp(SLIDE_EVERY_MIN, SLIDE_EVERY_MAX);
            self.slides_at = Some(self.now().plus(wait));
            let id = self.known.id;
            self.context.wheels.of(&id).after(wait, id).await;
        }
    }

    /// Handles a deadline: extends the life of an attached session if that is due, and reports an idle one.
    pub(crate) fn woken(&mut self) {
        if self.slides_at.is_some_and(|at| at <= self.now()) {
            self.slides_at = None;
            if matches!(self.phase, Phase::Attached(_)) {
                self.seen();
            }
        }
        self.rest_if_idle();
    }

    /// Extends the session's life from this use. The stored end is a coalesced write.
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

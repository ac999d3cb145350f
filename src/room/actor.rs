//! Connects a room to its mailbox: brings it each message as an input, and carries its effects out.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::core::effect::{Effect, Lifecycle, SeatToRead, event_of_outcome};
use super::core::{Room, SharedState};
use super::handle::MemberCount;
use super::message::{Change, RoomMessage, SeatRead, Wake};
use super::registry::{RoomContext, RoomSeed};
use crate::persistence::{HistoryWindow, Write};
use crate::supervisor::{LiveGauge, ShardMessage};

/// An upper bound on the time until a starting room is in the directory, through which its timers reach it. A shorter
/// timer bypasses the directory, at the price of a timer of its own.
const REGISTRATION_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct RoomActor;

/// A room and what carries its effects out.
pub(super) struct RoomState {
    room: Room,
    context: Arc<RoomContext>,
    me: ActorRef<RoomMessage>,
    /// The number of members, readable without asking the room.
    audience: MemberCount,
    _alive: LiveGauge,
}

impl Actor for RoomActor {
    type Msg = RoomMessage;
    type State = RoomState;
    type Arguments = (Arc<RoomContext>, RoomSeed, MemberCount);

    async fn pre_start(
        &self,
        me: ActorRef<RoomMessage>,
        (context, seed, audience): (Arc<RoomContext>, RoomSeed, MemberCount),
    ) -> Result<RoomState, ActorProcessingErr> {
        let shared = SharedState {
            metrics: Arc::clone(&context.metrics),
            gauges: context.metrics.share(),
            recovery_max: context.recovery_max,
            unheard: Arc::clone(&context.unheard),
        };
        let room = Room::start(seed, shared, context.is_paused(), context.clock.moment());
        let mut state = RoomState {
            room,
            context,
            me,
            audience,
            _alive: LiveGauge::new("room"),
        };
        state.share_history();
        state.carry_out().await;
        Ok(state)
    }

    /// Boxed, with the message, while it lasts: the actor library otherwise keeps two places for the future of
    /// `handle` for the life of the actor.
    fn handle(
        &self,
        _me: ActorRef<RoomMessage>,
        message: RoomMessage,
        state: &mut RoomState,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(state.hear(message))
    }

    /// Ignores the event: a room supervises no actors.
    fn handle_supervisor_evt(
        &self,
        _me: ActorRef<RoomMessage>,
        _event: SupervisionEvent,
        _state: &mut RoomState,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        future::ready(Ok(()))
    }
}

impl RoomState {
    async fn hear(&mut self, message: RoomMessage) -> Result<(), ActorProcessingErr> {
        if matches!(message, RoomMessage::Rouse) && self.room.is_crowd_growing() {
            // Yields first: publications that are about to arrive get in before the next look.
            tokio::task::yield_now().await;
            self.look_after_crowd();
            return Ok(());
        }
        let handled = self.room.handle(message, self.context.clock.moment());
        self.carry_out().await;
        self.audience.set(self.room.members.len());
        Ok(handled?)
    }

    /// Carries out the effects in their order.
    async fn carry_out(&mut self) {
        for effect in self.room.take_effects() {
            match effect {
                Effect::Published(reply, result) => reply.settle(result),
                Effect::Claimed(claim, result) => claim.settle(*result),
                Effect::Answer(answer) => answer.send(),
                Effect::Notify(session, event) => self.context.listener.hear(session, event),
                Effect::Write {
                    write,
                    change,
                    since,
                } => self.write(*write, change, since),
                Effect::Mark(write) => self.context.persistence.mark(write),
                Effect::ReadSeat { after, read } => self.read_seat(after, read),
                Effect::ReadHistory(window) => self.read_history(window),
                Effect::Wake { after, wake } => self.wake(after, wake).await,
                Effect::LookAfterCrowd => self.look_after_crowd(),
                Effect::Supply(code, Some(supply)) => self.context.matchmaker.supply(code, supply),
                Effect::Supply(code, None) => self.context.matchmaker.gone(code),
                Effect::Shard(word) => self.tell_shard(word),
            }
        }
    }

    /// Writes a change. Its session gets the event of the outcome even if the room has failed by then.
    fn write(&self, write: Write, change: Change, since: std::time::Instant) {
        let (me, listener) = (self.me.clone(), Arc::clone(&self.context.listener));
        let room = self.room.id();
        let settled = move |result| {
            if let Some(room) = room
                && let Some((session, event)) = event_of_outcome(room, change, &result)
            {
                listener.hear(session, event);
            }
            // An error means that the room has since been rebuilt from the database.
            let _ = me.cast(RoomMessage::Settled { change, result });
        };
        self.context
            .persistence
            .write_since(write, since.into(), settled);
    }

    fn read_seat(&self, after: Duration, read: SeatToRead) {
        let (persistence, me) = (self.context.persistence.clone(), self.me.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let room = persistence.room_truth(read.code).await;
            let row = room.map(|room| {
                let room = room.filter(|room| room.id == read.room);
                let seats = room.map(|room| room.seats).unwrap_or_default();
                seats.into_iter().find(|seat| seat.number == read.number)
            });
            let read = SeatRead {
                number: read.number,
                session: read.session,
                row,
                is_second: read.is_second,
            };
            // An error means that the room has failed, and its successor has read all rows.
            let _ = me.cast(RoomMessage::SeatRead(Box::new(read)));
        });
    }

    fn read_history(&self, window: HistoryWindow) {
        let (persistence, me) = (self.context.persistence.clone(), self.me.clone());
        tokio::spawn(async move {
            let read = persistence.history(window).await;
            // An error means that the room has since been rebuilt, and reads for itself.
            let _ = me.cast(RoomMessage::Past(read));
        });
    }

    async fn wake(&self, after: Duration, wake: Wake) {
        if after < REGISTRATION_TIME_MAX {
            self.me.send_after(after, move || RoomMessage::Wake(wake));
            return;
        }
        let key = &self.room.identity.key;
        let wheel = self.context.wheels.of(key);
        wheel.after(after, (key.clone(), wake)).await;
    }

    fn look_after_crowd(&mut self) {
        if self.me.cast(RoomMessage::Rouse).is_err() {
            self.room.rouse();
        }
    }

    fn tell_shard(&self, word: Lifecycle) {
        let key = self.room.identity.key.clone();
        let shard = self.context.shards.of(&key);
        shard.tell(match word {
            Lifecycle::Idle => ShardMessage::Idle { key },
            Lifecycle::Goes => ShardMessage::Goes { key },
            Lifecycle::Stays => ShardMessage::Stays { key },
        });
    }

    /// Counts the history of an open channel together with those of all others.
    fn share_history(&mut self) {
        let is_open_channel = self.room.identity.kind.is_open_channel();
        if is_open_channel && self.room.stream.has_history() {
            let me = self.me.clone();
            let forget = Box::new(move |moment| {
                // An error means that the room has stopped and keeps nothing any more.
                let _ = me.cast(RoomMessage::ForgetBefore(moment));
            });
            let share = self.context.history.share(forget);
            self.room.stream.count_with(share);
        }
    }
}

/// A session whose seat was to be released has to ask for it: the room is gone before that was written.
impl Drop for RoomState {
    fn drop(&mut self) {
        for (session, event) in self.room.events_of_unwritten() {
            self.context.listener.hear(session, event);
        }
    }
}

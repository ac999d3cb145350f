//! Connects a room's mailbox to its rules.

use std::collections::{HashMap, VecDeque};
use std::future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use super::core::shutdown::ShutdownPhase;
use super::core::{Memory, Phase, Profile, Room};
use super::handle::MemberCount;
use super::message::{RoomMessage, Wake};
use super::registry::{Origin, RoomContext, RoomSeed};
use super::rules::members::Members;
use super::rules::publish_dedup::RecentKeys;
use super::rules::publish_queue::{PublishQueue, PublishReply};
use super::rules::seats::{Occupant, Seats};
use super::rules::stream::Stream;
use super::rules::write_batching::WriteBatcher;
use super::seat_event::{AttachSeq, SeatEvent};
use crate::clock::HubTime;
use crate::mailbox::answer;
use crate::persistence::{StoredRoom, StoredSeat, StoredStream};
use crate::supervisor::{LiveGauge, ShardMessage};
use crate::wire::RoomView;

/// How long a room stays live after a fruitless lookup: as long as requests may take.
const REST_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct RoomActor;

impl Actor for RoomActor {
    type Msg = RoomMessage;
    type State = Room;
    type Arguments = (Arc<RoomContext>, RoomSeed, MemberCount);

    async fn pre_start(
        &self,
        me: ActorRef<RoomMessage>,
        (context, seed, audience): (Arc<RoomContext>, RoomSeed, MemberCount),
    ) -> Result<Room, ActorProcessingErr> {
        let (profile, phase, seats, stream) = take_apart(seed.stored);
        let mut room = Room {
            stream: Stream::new(&seed.kind.config, stream, context.clock.now()),
            seating: Seats::new(seed.kind.config.seats, &seats),
            key: seed.key,
            channel: seed.channel,
            kind: seed.kind,
            members: Members::new(),
            crowd: WriteBatcher::default(),
            audience,
            repeats: RecentKeys::default(),
            keep: None,
            journal: PublishQueue::default(),
            deferred: Vec::new(),
            removals: VecDeque::new(),
            is_prune_pending: false,
            claims: HashMap::new(),
            releases: HashMap::new(),
            takes: HashMap::new(),
            token_ends: HashMap::new(),
            vacancy: 0,
            is_solitary: matches!(seed.origin, Origin::Opened(_)),
            memory: Memory::Empty,
            profile,
            phase,
            halt: match context.is_paused() {
                true => ShutdownPhase::Paused,
                false => ShutdownPhase::Running,
            },
            share: context.metrics.share(),
            _alive: LiveGauge::new("room"),
            context,
            me,
        };
        room.share_history();
        for seat in seats {
            room.restore(seat, seed.origin).await;
        }
        room.seats_freed().await;
        room.count_seats();
        // Only sets the timer: many rooms may start at once.
        room.prune(u64::MAX).await;
        if room.phase == Phase::Closed || room.kind.is_open_channel() {
            room.wake(REST_AFTER, Wake::Rest).await;
        }
        Ok(room)
    }

    /// Boxed, with the message, while it lasts: the actor library otherwise keeps two places for the future of
    /// `handle` for the life of the actor.
    fn handle(
        &self,
        _me: ActorRef<RoomMessage>,
        message: RoomMessage,
        room: &mut Room,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(room.hear(message))
    }

    /// Ignores the event: a room supervises no actors.
    fn handle_supervisor_evt(
        &self,
        _me: ActorRef<RoomMessage>,
        _event: SupervisionEvent,
        _room: &mut Room,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        future::ready(Ok(()))
    }
}

impl Room {
    async fn hear(&mut self, message: RoomMessage) -> Result<(), ActorProcessingErr> {
        if self.phase == Phase::Retired {
            // Dropping a reply port makes the asker look the room up again.
            return Ok(());
        }
        if let RoomMessage::Past(read) = message {
            for deferred in self.past_read(read) {
                self.carry_out(deferred.into()).await?;
            }
            return Ok(());
        }
        if self.needs_past(&message) {
            self.defer(message);
            return Ok(());
        }
        self.carry_out(message).await
    }

    async fn carry_out(&mut self, message: RoomMessage) -> Result<(), ActorProcessingErr> {
        let room = self;
        let is_about_seats = message.is_about_seats();
        match message {
            RoomMessage::Claim(request) => room.claim(*request),
            RoomMessage::Take(request) => room.take(*request),
            RoomMessage::Release {
                session,
                once,
                reply,
            } => room.release(session, once, reply),
            RoomMessage::Hold(request) => room.hold(request).await,
            RoomMessage::Delayed { sitter, by } => room.delayed(&sitter, by).await,
            RoomMessage::Back { session, epoch } => room.back(session, epoch).await,
            RoomMessage::Away { session, epoch } => room.away(session, epoch).await,
            RoomMessage::SessionChanged(news) => room.session_changed(*news).await?,
            RoomMessage::Settled { change, result } => room.settled(change, result).await?,
            RoomMessage::SeatRead(read) => room.seat_read(*read).await?,
            RoomMessage::Subscribe { subscribing, reply } => {
                answer(reply, room.subscribe(*subscribing));
                room.rest_if_unheard();
            }
            RoomMessage::Unsubscribe {
                asked,
                connection,
                outbound,
                reply,
            } => {
                room.unsubscribe(asked, connection, &outbound);
                answer(reply, ());
            }
            RoomMessage::Leave { connection } => room.leave(connection),
            RoomMessage::Expire { connection } => room.expire(connection),
            RoomMessage::Renew { peer } => room.renew(peer),
            RoomMessage::ForgetBefore(moment) => room.stream.forget_before(moment),
            RoomMessage::RemoveHistory { reply } => room.remove_history(reply),
            // Handled before.
            RoomMessage::Past(_) => {}
            RoomMessage::Publish {
                peer,
                data,
                since,
                publisher,
            } => {
                room.publish(&peer, data, since, PublishReply::new(publisher));
                room.rest_if_unheard();
            }
            RoomMessage::Ask {
                id,
                peer,
                question,
                outbound,
                reply,
            } => {
                answer(reply, room.question(id, &peer, &question, &outbound));
                room.rest_if_unheard();
            }
            RoomMessage::Game(question) => room.answer_game(*question).await,
            RoomMessage::View { reply } => room.show(reply),
            RoomMessage::Rouse => room.rouse().await,
            RoomMessage::Offer => room.offer(),
            RoomMessage::Wake(wake) => room.woken(wake).await,
            RoomMessage::Retire => room.retire(),
            #[cfg(feature = "faults")]
            RoomMessage::Panic => panic!("ordered"),
            RoomMessage::Pause => room.pause(),
            RoomMessage::Freeze { reply } => room.freeze(reply),
        }
        room.carried_out(is_about_seats);
        Ok(())
    }

    /// Counts the history of an open channel together with those of all others.
    fn share_history(&mut self) {
        if self.kind.is_open_channel() && self.stream.has_history() {
            let me = self.me.clone();
            let forget = Box::new(move |moment| {
                // An error means that the room has stopped and keeps nothing any more.
                let _ = me.cast(RoomMessage::ForgetBefore(moment));
            });
            self.stream.count_with(self.context.history.share(forget));
        }
    }

    fn carried_out(&mut self, is_about_seats: bool) {
        if is_about_seats {
            self.seats_may_have_changed();
        }
        self.tell_who_left();
        self.audience.set(self.members.len());
    }

    /// Handles a timer. While the hub stops, all timers but that of waiting writes are ignored.
    async fn woken(&mut self, wake: Wake) {
        if self.is_halted() && !matches!(wake, Wake::Write) {
            return;
        }
        match wake {
            Wake::Hold { seat, hold_until } => self.hold_over(seat, hold_until).await,
            Wake::Empty { vacancy } => self.close_if_vacant(vacancy),
            Wake::Unheard { vacancy } => self.forget(vacancy),
            Wake::Rest if self.is_kept_no_longer().await => self.rest(),
            Wake::Rest => {}
            Wake::Write => self.write_batch(),
            Wake::Prune => self.prune_again().await,
        }
    }

    fn seats_may_have_changed(&mut self) {
        self.count_seats();
        self.freeze_if_settled();
    }

    fn count_seats(&mut self) {
        let (held, away) = self.seating.count();
        self.share.seats(held, away);
    }

    /// Puts a holder back into its seat.
    async fn restore(&mut self, seat: StoredSeat, origin: Origin) {
        let now = self.now();
        let hold_until = match origin {
            Origin::Opened(_) => seat.hold_until,
            Origin::Stored | Origin::Rebuilt => Some(read_hold(&seat, now)),
        };
        let epoch = match origin {
            Origin::Opened(epoch) => epoch,
            Origin::Stored | Origin::Rebuilt => AttachSeq(0),
        };
        let occupant = Occupant {
            hold_until,
            recorded: hold_until,
            ..Occupant::stored(&seat, epoch)
        };
        self.seating.put(seat.number, occupant.clone());
        if let Some(end) = hold_until {
            self.wake_at(seat.number, end).await;
        }
        if hold_until != seat.hold_until {
            self.mark_hold(seat.number, &occupant);
        }
        match (origin, self.holding(seat.number, &occupant)) {
            // A durable stream has the event since the room was opened.
            (Origin::Opened(_), _) if self.stream.is_durable() => {}
            (Origin::Opened(_), _) => self.announce_held(seat.number, &occupant),
            (Origin::Rebuilt, Some(seat)) => {
                self.notify(occupant.session, SeatEvent::Restored { seat });
            }
            (Origin::Rebuilt, None) | (Origin::Stored, _) => {}
        }
    }

    /// Answers with the room's view. Never asked of an open channel.
    fn show(&self, reply: RpcReplyPort<RoomView>) {
        if let Some(view) = self.view() {
            answer(reply, view);
        }
    }

    /// Answers the shard's question whether the room can stop: only an open channel without members can.
    fn retire(&mut self) {
        let key = self.key.clone();
        if self.is_unheard() {
            self.phase = Phase::Retired;
            self.tell_shard(ShardMessage::Goes { key });
        } else {
            self.tell_shard(ShardMessage::Stays { key });
        }
    }
}

/// The least remaining hold in a room that was read from its row. In this time attached sessions report back, and the
/// waits of clients that came while the room was dormant are added.
const READ_HOLD_MIN: Duration = Duration::from_secs(5);

/// Returns the hold of a seat that was read. The row may be outdated: the holder may be attached, or may have left.
fn read_hold(seat: &StoredSeat, now: HubTime) -> HubTime {
    match seat.hold_until {
        Some(end) => end.max(now.plus(READ_HOLD_MIN.min(seat.grace))),
        None => now.plus(seat.grace),
    }
}

fn take_apart(
    stored: Option<StoredRoom>,
) -> (Option<Profile>, Phase, Vec<StoredSeat>, StoredStream) {
    let Some(stored) = stored else {
        return (None, Phase::Open, Vec::new(), StoredStream::default());
    };
    let phase = if stored.is_closed {
        Phase::Closed
    } else {
        Phase::Open
    };
    let profile = Profile::stored(&stored);
    (Some(profile), phase, stored.seats, stored.stream)
}

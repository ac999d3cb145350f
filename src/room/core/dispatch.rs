//! The way of each input to the part of the room that handles it.

use ractor::RpcReplyPort;

use crate::clock::Moment;
use crate::room::core::effect::{Effect, Lifecycle};
use crate::room::core::{Contradiction, Phase, Room};
use crate::room::message::{RoomMessage, Wake};
use crate::room::rules::publish_queue::PublishReply;
use crate::wire::RoomView;

impl Room {
    /// Handles an input at this time. Its effects wait to be carried out, also after an error.
    ///
    /// # Errors
    /// If the room's state contradicts the database, from which it is then rebuilt.
    pub(in crate::room) fn handle(
        &mut self,
        input: RoomMessage,
        now: Moment,
    ) -> Result<(), Contradiction> {
        self.now = now;
        if self.life.phase == Phase::Retired {
            // Dropping a reply port makes the asker look the room up again.
            return Ok(());
        }
        if let RoomMessage::Past(read) = input {
            for deferred in self.past_read(read) {
                self.carry_out(deferred.into())?;
            }
            return Ok(());
        }
        if self.needs_past(&input) {
            self.defer(input);
            return Ok(());
        }
        self.carry_out(input)
    }

    fn carry_out(&mut self, message: RoomMessage) -> Result<(), Contradiction> {
        let is_about_seats = message.is_about_seats();
        match message {
            RoomMessage::Claim(request) => self.claim(*request),
            RoomMessage::Take(request) => self.take(*request),
            RoomMessage::Release {
                session,
                once,
                reply,
            } => self.release(session, once, reply),
            RoomMessage::Hold(request) => self.hold(request),
            RoomMessage::Delayed { sitter, by } => self.delayed(&sitter, by),
            RoomMessage::Back { session, epoch } => self.back(session, epoch),
            RoomMessage::Away { session, epoch } => self.away(session, epoch),
            RoomMessage::SessionChanged(news) => self.session_changed(*news)?,
            RoomMessage::Settled { change, result } => self.settled(change, result)?,
            RoomMessage::SeatRead(read) => self.seat_read(*read)?,
            RoomMessage::Subscribe { subscribing, reply } => {
                let subscribed = self.subscribe(*subscribing);
                self.answer(reply, subscribed);
                self.rest_if_unheard();
            }
            RoomMessage::Unsubscribe {
                asked,
                connection,
                outbound,
                reply,
            } => {
                self.unsubscribe(asked, connection, &outbound);
                self.answer(reply, ());
            }
            RoomMessage::Leave { connection } => self.leave(connection),
            RoomMessage::Expire { connection } => self.expire(connection),
            RoomMessage::Renew { peer } => self.renew(peer),
            RoomMessage::ForgetBefore(moment) => self.stream.forget_before(moment),
            RoomMessage::RemoveHistory { reply } => self.remove_history(reply),
            // Handled before.
            RoomMessage::Past(_) => {}
            RoomMessage::Publish {
                peer,
                data,
                since,
                publisher,
            } => {
                self.publish(&peer, data, since, PublishReply::new(publisher));
                self.rest_if_unheard();
            }
            RoomMessage::Ask {
                id,
                peer,
                question,
                outbound,
                reply,
            } => {
                let queued = self.question(id, &peer, &question, &outbound);
                self.answer(reply, queued);
                self.rest_if_unheard();
            }
            RoomMessage::Game(question) => self.answer_game(*question),
            RoomMessage::View { reply } => self.show(reply),
            RoomMessage::Rouse => self.rouse(),
            RoomMessage::Offer => self.offer(),
            RoomMessage::Wake(wake) => self.woken(wake),
            RoomMessage::Retire => self.retire(),
            #[cfg(feature = "faults")]
            RoomMessage::Panic => panic!("ordered"),
            RoomMessage::Pause => self.pause(),
            RoomMessage::Freeze { reply } => self.freeze(reply),
        }
        self.carried_out(is_about_seats);
        Ok(())
    }

    fn carried_out(&mut self, is_about_seats: bool) {
        if is_about_seats {
            self.seats_may_have_changed();
        }
        self.tell_who_left();
    }

    /// Handles a timer. While the hub stops, all timers but that of waiting writes are ignored.
    fn woken(&mut self, wake: Wake) {
        if self.is_halted() && !matches!(wake, Wake::Write) {
            return;
        }
        match wake {
            Wake::Hold { seat, hold_until } => self.hold_over(seat, hold_until),
            Wake::Empty { vacancy } => self.close_if_vacant(vacancy),
            Wake::Unheard { vacancy } => self.forget(vacancy),
            Wake::Rest if self.is_kept_no_longer() => self.rest(),
            Wake::Rest => {}
            Wake::Write => self.write_batch(),
            Wake::Prune => self.prune_again(),
        }
    }

    fn seats_may_have_changed(&mut self) {
        self.count_seats();
        self.freeze_if_settled();
    }

    pub(in crate::room) fn count_seats(&mut self) {
        let (held, away) = self.seating.count();
        self.shared.gauges.seats(held, away);
    }

    /// Answers with the room's view. Never asked of an open channel.
    fn show(&mut self, reply: RpcReplyPort<RoomView>) {
        if let Some(view) = self.view() {
            self.answer(reply, view);
        }
    }

    /// Answers the shard's question whether the room can stop: only an open channel without members can.
    fn retire(&mut self) {
        if self.is_unheard() {
            self.life.phase = Phase::Retired;
            self.push(Effect::Shard(Lifecycle::Goes));
        } else {
            self.push(Effect::Shard(Lifecycle::Stays));
        }
    }
}

//! Release of seats, and the close of empty rooms.

use std::sync::Arc;
use std::time::Duration;

use ractor::RpcReplyPort;
use tracing::{debug, warn};

use crate::clock::HubTime;
use crate::config::Permission;
use crate::id::SessionId;
use crate::persistence::{
    IdempotencyRecord, Refused, ReleaseSeat, RoomCommand, SeatCommand, Write,
};
use crate::room::core::effect::{Effect, Lifecycle};
use crate::room::core::seat::claim::refusal;
use crate::room::core::seat::session_change::SessionTold;
use crate::room::core::{Contradiction, Phase, Room};
use crate::room::message::{Change, Wake};
use crate::room::metric::count_release;
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::SeatEvent;
use crate::wire::{CloseReason, Reason, Refusal, ReleaseReason, RoomEvent};

/// The wait before a release that could not be written is tried again.
const RELEASE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest time that a room stays open if only its opener has ever held a seat in it. A player who was sent its
/// code may be on the way. Thousands of rooms that are opened and left at once are gone soon.
const SOLITARY_TTL: Duration = Duration::from_mins(1);

impl Room {
    /// Releases the seat of a session that leaves it explicitly.
    pub(in crate::room) fn release(
        &mut self,
        session: SessionId,
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    ) {
        if self.is_frozen() {
            self.answer(reply, Err(Refusal::stopping()));
        } else if let Some(number) = self.seating.release(session) {
            self.waiting.releases.insert(number, vec![reply]);
            self.write_release(number, session, None, once, ReleaseReason::Left);
        } else if self.seating.is_releasing(session) {
            let detail = "the seat is being released already";
            self.answer(reply, Err(Refusal::new(Reason::Unavailable, detail)));
        } else if self.seating.is_moving(session) {
            let detail = "the seat is being taken over by another session of its user";
            self.answer(reply, Err(Refusal::new(Reason::Unavailable, detail)));
        } else {
            let detail = "the session holds no seat in this room";
            self.answer(reply, Err(Refusal::new(Reason::NotSeated, detail)));
        }
    }

    /// Releases a seat whose hold has ended, unless its holder came back in time.
    pub(in crate::room) fn hold_over(&mut self, number: u16, hold_until: HubTime) {
        let now = self.now();
        let holder = self.seating.occupant(number);
        if holder.is_none_or(|holder| holder.hold_until != Some(hold_until)) {
            return;
        }
        if now < hold_until {
            // Woken early.
            self.wake_at(number, hold_until);
        } else if let Some(session) = self.seating.expire(number, hold_until, now) {
            let reason = ReleaseReason::HoldOver;
            self.write_release(number, session, Some(hold_until), None, reason);
        }
    }

    fn write_release(
        &mut self,
        seat: u16,
        session: SessionId,
        hold_until: Option<HubTime>,
        once: Option<Arc<IdempotencyRecord>>,
        reason: ReleaseReason,
    ) {
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let command = SeatCommand::Release(ReleaseSeat {
            room: profile.id,
            seat,
            session,
            hold_until,
        });
        let change = Change::Release {
            seat,
            session,
            reason,
        };
        self.write_told(Write::once(command, once), change);
    }

    pub(in crate::room) fn release_committed(
        &mut self,
        number: u16,
        reason: ReleaseReason,
        is_told: bool,
    ) {
        if let Some(occupant) = self.seating.released(number) {
            if !is_told {
                self.announce_released(number, &occupant, reason);
            }
            self.released(number, &occupant, reason);
            if let Some(room) = self.id() {
                self.notify(occupant.session, SeatEvent::Released { room });
            }
        }
        for reply in self.waiting.releases.remove(&number).unwrap_or_default() {
            self.answer(reply, Ok(()));
        }
    }

    pub(in crate::room) fn release_refused(
        &mut self,
        number: u16,
        reason: ReleaseReason,
        refused: &Refused,
    ) {
        if *refused == Refused::SeatChanged {
            match reason {
                // It was released before, which is all that the player wanted.
                ReleaseReason::Left | ReleaseReason::SessionEnded => {
                    self.release_committed(number, reason, false);
                }
                // The coalesced write of its absence was lost, or its session has ended: the row decides.
                ReleaseReason::HoldOver => self.doubt(number),
            }
            return;
        }
        for reply in self.waiting.releases.remove(&number).unwrap_or_default() {
            self.answer(reply, Err(refusal(refused)));
        }
        self.keep(number);
    }

    /// Keeps a seat whose release failed. In the meantime its holder may have come or gone, and its hold may have
    /// ended.
    pub(in crate::room) fn keep(&mut self, number: u16) {
        if self.seating.keep(number) {
            self.record(number, RELEASE_RETRY_DELAY);
        }
    }

    /// Releases the seat of a session that has ended, durably.
    pub(in crate::room) fn vacated(
        &mut self,
        session: SessionId,
        told: SessionTold,
    ) -> Result<(), Contradiction> {
        let is_told = self.hear_of_session(told)?;
        if let Some((number, occupant)) = self.seating.vacate(session) {
            let reason = ReleaseReason::SessionEnded;
            if !is_told {
                self.announce_released(number, &occupant, reason);
            }
            self.released(number, &occupant, reason);
        }
        Ok(())
    }

    /// Publishes that a seat was released.
    pub(in crate::room) fn announce_released(
        &mut self,
        number: u16,
        occupant: &Occupant,
        reason: ReleaseReason,
    ) {
        let note = self.seat_body(number, occupant).reason(reason);
        self.announce(&RoomEvent::Released(note));
    }

    /// Handles an empty seat: its former holder loses the rights of holders.
    pub(in crate::room) fn released(
        &mut self,
        number: u16,
        occupant: &Occupant,
        reason: ReleaseReason,
    ) {
        debug!(room = %self.identity.channel, seat = number, ?reason, "seat released");
        count_release(reason);
        self.members.describe(occupant.session, None);
        let config = &self.identity.kind.config;
        if config.subscribe == Permission::Seated && self.members.spectators() > config.spectators {
            self.members.dismiss_session(occupant.session);
        }
        self.seats_freed();
    }

    /// Offers the free seats, and schedules the close of a room in which all seats are empty.
    pub(in crate::room) fn seats_freed(&mut self) {
        self.offer();
        if self.identity.profile.is_some()
            && self.seating.is_vacant()
            && self.life.phase == Phase::Open
        {
            self.life.vacancy += 1;
            let vacancy = self.life.vacancy;
            let empty_ttl = match self.life.is_solitary {
                true => self.identity.kind.config.empty_ttl.min(SOLITARY_TTL),
                false => self.identity.kind.config.empty_ttl,
            };
            self.wake(empty_ttl, Wake::Empty { vacancy });
        }
    }

    /// Closes a room that has been empty for long enough, unless a seat was claimed in the meantime.
    pub(in crate::room) fn close_if_vacant(&mut self, vacancy: u64) {
        let Some(room) = self.id() else {
            return;
        };
        if self.life.phase == Phase::Open
            && self.life.vacancy == vacancy
            && self.seating.is_vacant()
        {
            let command = RoomCommand::Close(room);
            self.life.phase = Phase::Closing;
            self.offer();
            self.write_told(command.into(), Change::Close);
        }
    }

    pub(in crate::room) fn close_committed(&mut self, is_told: bool) {
        self.life.phase = Phase::Closed;
        if !is_told {
            self.announce(&RoomEvent::Closed {
                reason: CloseReason::Empty,
            });
            self.finish_close_if_told();
        }
    }

    /// Sends the members of a closed room away, after its last events have reached them.
    pub(in crate::room) fn finish_close_if_told(&mut self) {
        if self.life.phase == Phase::Closed && self.journal.is_idle() {
            self.members.dismiss_all();
            self.prune_all();
            self.go();
        }
    }

    /// Lets the shard stop the room, which has nothing left to do.
    pub(in crate::room) fn go(&mut self) {
        self.push(Effect::Shard(Lifecycle::Goes));
    }

    pub(in crate::room) fn close_refused(
        &mut self,
        refused: &Refused,
    ) -> Result<(), Contradiction> {
        if *refused == Refused::RoomChanged {
            return Err("the database has seats in a room that is empty here".into());
        }
        warn!(room = %self.identity.channel, %refused, "room could not be closed, trying again later");
        self.life.phase = Phase::Open;
        self.seats_freed();
        Ok(())
    }
}

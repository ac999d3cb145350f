//! Release of seats, and the close of empty rooms.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorProcessingErr, RpcReplyPort};
use tracing::{debug, warn};

use super::claim::refusal;
use super::session_change::SessionTold;
use super::{Phase, Room};
use crate::clock::HubTime;
use crate::config::Permission;
use crate::id::SessionId;
use crate::mailbox::answer;
use crate::persistence::{
    IdempotencyRecord, Refused, ReleaseSeat, RoomCommand, SeatCommand, Write, WriteError,
};
use crate::room::message::{Change, Wake};
use crate::room::metric::count_release;
use crate::room::rules::queued_change::Completion;
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::SeatEvent;
use crate::supervisor::ShardMessage;
use crate::wire::{CloseReason, ReleaseReason, RoomEvent};
use crate::wire::{Reason, Refusal};

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
            answer(reply, Err(Refusal::stopping()));
        } else if let Some(number) = self.seating.release(session) {
            self.releases.insert(number, vec![reply]);
            self.write_release(number, session, None, once, ReleaseReason::Left);
        } else if self.seating.is_releasing(session) {
            let detail = "the seat is being released already";
            answer(reply, Err(Refusal::new(Reason::Unavailable, detail)));
        } else if self.seating.is_moving(session) {
            let detail = "the seat is being taken over by another session of its user";
            answer(reply, Err(Refusal::new(Reason::Unavailable, detail)));
        } else {
            let detail = "the session holds no seat in this room";
            answer(reply, Err(Refusal::new(Reason::NotSeated, detail)));
        }
    }

    /// Releases a seat whose hold has ended, unless its holder came back in time.
    pub(in crate::room) async fn hold_over(&mut self, number: u16, hold_until: HubTime) {
        let now = self.now();
        let holder = self.seating.occupant(number);
        if holder.is_none_or(|holder| holder.hold_until != Some(hold_until)) {
            return;
        }
        if now < hold_until {
            // Woken early.
            self.wake_at(number, hold_until).await;
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
        let Some(profile) = &self.profile else {
            return;
        };
        let command = SeatCommand::Release(ReleaseSeat {
            room: profile.id,
            seat,
            session,
            hold_until,
        });
        let (listener, room) = (Arc::clone(&self.context.listener), profile.id);
        let change = Change::Release { seat, reason };
        let hear = Completion::new(move |result| match result {
            Ok(_) => listener.hear(session, SeatEvent::Released { room }),
            Err(WriteError::Lost) => listener.hear(session, SeatEvent::Unsure { room }),
            Err(WriteError::Refused(_)) => {}
        });
        self.write_told(Write::once(command, once), change, hear);
    }

    pub(super) async fn release_committed(
        &mut self,
        number: u16,
        reason: ReleaseReason,
        is_told: bool,
    ) {
        if let Some(occupant) = self.seating.released(number) {
            if !is_told {
                self.announce_released(number, &occupant, reason);
            }
            self.released(number, &occupant, reason).await;
            if let Some(profile) = &self.profile {
                let room = profile.id;
                self.notify(occupant.session, SeatEvent::Released { room });
            }
        }
        for reply in self.releases.remove(&number).unwrap_or_default() {
            answer(reply, Ok(()));
        }
    }

    pub(super) async fn release_refused(
        &mut self,
        number: u16,
        reason: ReleaseReason,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        match (refused, reason) {
            // It was released before, which is all that the player wanted.
            (Refused::SeatChanged, ReleaseReason::Left | ReleaseReason::SessionEnded) => {
                self.release_committed(number, reason, false).await;
                return Ok(());
            }
            // The coalesced write of its absence was lost, or its session has ended: the row decides.
            (Refused::SeatChanged, ReleaseReason::HoldOver) => {
                self.doubt(number);
                return Ok(());
            }
            (
                Refused::InvalidUser
                | Refused::SessionEnded
                | Refused::RoomChanged
                | Refused::StreamChanged
                | Refused::InsufficientCredits { .. }
                | Refused::TooManySeats { .. }
                | Refused::NotGuest
                | Refused::AlreadySeated
                | Refused::CodeTaken
                | Refused::SeatTaken
                | Refused::Repeated(_)
                | Refused::KeyReused
                | Refused::Unavailable { .. }
                | Refused::Internal,
                _,
            ) => {}
        }
        for reply in self.releases.remove(&number).unwrap_or_default() {
            answer(reply, Err(refusal(refused)));
        }
        self.keep(number).await;
        Ok(())
    }

    /// Keeps a seat whose release failed. In the meantime its holder may have come or gone, and its hold may have
    /// ended.
    pub(super) async fn keep(&mut self, number: u16) {
        if self.seating.keep(number) {
            self.record(number, RELEASE_RETRY_DELAY).await;
        }
    }

    /// Releases the seat of a session that has ended, durably.
    pub(super) async fn vacated(
        &mut self,
        session: SessionId,
        told: SessionTold,
    ) -> Result<(), ActorProcessingErr> {
        let is_told = self.hear_of_session(told)?;
        if let Some((number, occupant)) = self.seating.vacate(session) {
            let reason = ReleaseReason::SessionEnded;
            if !is_told {
                self.announce_released(number, &occupant, reason);
            }
            self.released(number, &occupant, reason).await;
        }
        Ok(())
    }

    /// Publishes that a seat was released.
    pub(super) fn announce_released(
        &mut self,
        number: u16,
        occupant: &Occupant,
        reason: ReleaseReason,
    ) {
        let note = self.seat_body(number, occupant).reason(reason);
        self.announce(&RoomEvent::Released(note));
    }

    /// Handles an empty seat: its former holder loses the rights of holders.
    pub(super) async fn released(
        &mut self,
        number: u16,
        occupant: &Occupant,
        reason: ReleaseReason,
    ) {
        debug!(room = %self.channel, seat = number, ?reason, "seat released");
        count_release(reason);
        self.members.describe(occupant.session, None);
        let config = &self.kind.config;
        if config.subscribe == Permission::Seated && self.members.spectators() > config.spectators {
            self.members.dismiss_session(occupant.session);
        }
        self.seats_freed().await;
    }

    /// Offers the free seats, and schedules the close of a room in which all seats are empty.
    pub(in crate::room) async fn seats_freed(&mut self) {
        self.offer();
        if self.profile.is_some() && self.seating.is_vacant() && self.phase == Phase::Open {
            self.vacancy += 1;
            let vacancy = self.vacancy;
            let empty_ttl = match self.is_solitary {
                true => self.kind.config.empty_ttl.min(SOLITARY_TTL),
                false => self.kind.config.empty_ttl,
            };
            self.wake(empty_ttl, Wake::Empty { vacancy }).await;
        }
    }

    /// Closes a room that has been empty for long enough, unless a seat was claimed in the meantime.
    pub(in crate::room) fn close_if_vacant(&mut self, vacancy: u64) {
        let Some(profile) = &self.profile else {
            return;
        };
        if self.phase == Phase::Open && self.vacancy == vacancy && self.seating.is_vacant() {
            let command = RoomCommand::Close(profile.id);
            self.phase = Phase::Closing;
            self.offer();
            self.write_told(command.into(), Change::Close, Completion::new(|_| ()));
        }
    }

    pub(super) fn close_committed(&mut self, is_told: bool) {
        self.phase = Phase::Closed;
        if !is_told {
            self.announce(&RoomEvent::Closed {
                reason: CloseReason::Empty,
            });
            self.finish_close_if_told();
        }
    }

    /// Sends the members of a closed room away, after its last events have reached them.
    pub(super) fn finish_close_if_told(&mut self) {
        if self.phase == Phase::Closed && self.journal.is_idle() {
            self.members.dismiss_all();
            self.prune_all();
            self.go();
        }
    }

    /// Lets the shard stop the room, which has nothing left to do.
    pub(super) fn go(&self) {
        let key = self.key.clone();
        self.tell_shard(ShardMessage::Goes { key });
    }

    pub(super) async fn close_refused(
        &mut self,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        if *refused == Refused::RoomChanged {
            return Err("the database has seats in a room that is empty here".into());
        }
        warn!(room = %self.channel, %refused, "room could not be closed, trying again later");
        self.phase = Phase::Open;
        self.seats_freed().await;
        Ok(())
    }
}

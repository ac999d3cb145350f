//! Attachment: a seat is held while its session has a connection, and away otherwise.

use std::time::Duration;

use crate::clock::HubTime;
use crate::id::SessionId;
use crate::persistence::SoftWrite;
use crate::room::core::Room;
use crate::room::core::effect::Effect;
use crate::room::message::Wake;
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::{AttachSeq, HeldSeat, SeatEvent};
use crate::wire::RoomEvent;

impl Room {
    /// Handles a session that has a connection.
    pub(in crate::room) fn back(&mut self, session: SessionId, epoch: AttachSeq) {
        self.members.remove_older(session, epoch);
        let was_away = self.seating.back(session, epoch).is_some();
        if self.seating.is_releasing(session) {
            // The seat event follows when the release is settled.
            return;
        }
        match self.seating.seat_of(session) {
            Some(number) if was_away => self.record(number, Duration::ZERO),
            number => {
                let seat =
                    number.and_then(|number| self.holding(number, self.seating.occupant(number)?));
                self.confirm(session, epoch, seat);
            }
        }
    }

    /// Publishes, stores and schedules the hold of a seat as far as that was not done yet: its holder may have come
    /// or gone while a change of the seat was being written. A hold that has ended is checked after `again`.
    pub(in crate::room) fn record(&mut self, number: u16, again: Duration) {
        let Some(occupant) = self.seating.record(number) else {
            return;
        };
        match (occupant.recorded, occupant.hold_until) {
            (recorded, Some(end)) => {
                if recorded != Some(end) {
                    self.went_away(number, &occupant, end);
                }
                let wait = end.since(self.now()).max(again);
                let (seat, hold_until) = (number, end);
                self.wake(wait, Wake::Hold { seat, hold_until });
            }
            (Some(_), None) => self.came_back(number, &occupant),
            (None, None) => {
                let seat = self.holding(number, &occupant);
                self.confirm(occupant.session, occupant.epoch, seat);
            }
        }
    }

    fn went_away(&mut self, number: u16, occupant: &Occupant, end: HubTime) {
        let hold = end.since(self.now());
        let note = self.seat_body(number, occupant).hold(hold);
        self.announce(&RoomEvent::Away(note));
        self.mark_hold(number, occupant);
    }

    fn came_back(&mut self, number: u16, occupant: &Occupant) {
        let note = self.seat_body(number, occupant);
        self.announce(&RoomEvent::Back(note));
        self.mark_hold(number, occupant);
        let seat = self.holding(number, occupant);
        self.confirm(occupant.session, occupant.epoch, seat);
    }

    /// Stores, as a coalesced write, whether the holder of a seat is away and until when the seat is kept.
    pub(in crate::room) fn mark_hold(&mut self, seat: u16, occupant: &Occupant) {
        let Some(room) = self.id() else {
            return;
        };
        let (session, now) = (occupant.session, self.now());
        let mark = match occupant.hold_until {
            Some(hold_until) => SoftWrite::SeatAway {
                room,
                seat,
                session,
                since: now,
                hold_until,
            },
            None => SoftWrite::SeatBack {
                room,
                seat,
                session,
                at: now,
            },
        };
        self.push(Effect::Mark(mark));
    }

    fn confirm(&mut self, session: SessionId, epoch: AttachSeq, seat: Option<HeldSeat>) {
        if let Some(room) = self.id() {
            self.notify(session, SeatEvent::Confirmed { room, epoch, seat });
        }
    }

    /// Handles a session that lost the connection with that attach sequence.
    pub(in crate::room) fn away(&mut self, session: SessionId, epoch: AttachSeq) {
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let (grace, room) = (profile.grace, profile.id);
        let hold_until = Occupant::hold_from(self.now(), grace);
        if self.is_halted() {
            return;
        }
        let Some(number) = self.seating.away(session, epoch, hold_until) else {
            if !self.seating.is_known(session) {
                // It missed the release of its seat.
                self.notify(session, SeatEvent::Released { room });
            }
            return;
        };
        // Does nothing while the release of the seat is being written; it is repeated if the seat is kept.
        self.record(number, Duration::ZERO);
    }

    pub(in crate::room) fn wake_at(&mut self, seat: u16, hold_until: HubTime) {
        let delay = hold_until.since(self.now());
        self.wake(delay, Wake::Hold { seat, hold_until });
    }
}

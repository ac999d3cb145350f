//! Attachment: a seat is held while its session has a connection, and away otherwise.

use std::time::Duration;

use super::Room;
use crate::clock::HubTime;
use crate::id::SessionId;
use crate::persistence::SoftWrite;
use crate::room::message::Wake;
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::{AttachSeq, SeatEvent};
use crate::wire::RoomEvent;

impl Room {
    /// Handles a session that has a connection.
    pub(in crate::room) async fn back(&mut self, session: SessionId, epoch: AttachSeq) {
        self.members.remove_older(session, epoch);
        let was_away = self.seating.back(session, epoch).is_some();
        if self.seating.is_releasing(session) {
            // The seat event follows when the release is settled.
            return;
        }
        match self.seating.seat_of(session) {
            Some(number) if was_away => self.record(number, Duration::ZERO).await,
            number => {
                let seat = number.and_then(|number| Some((number, self.seating.occupant(number)?)));
                self.confirm(session, epoch, seat);
            }
        }
    }

    /// Publishes, stores and schedules the hold of a seat as far as that was not done yet: its holder may have come
    /// or gone while a change of the seat was being written. A hold that has ended is checked after `again`.
    pub(super) async fn record(&mut self, number: u16, again: Duration) {
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
                self.wake(wait, Wake::Hold { seat, hold_until }).await;
            }
            (Some(_), None) => self.came_back(number, &occupant),
            (None, None) => {
                self.confirm(occupant.session, occupant.epoch, Some((number, &occupant)));
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
        self.confirm(occupant.session, occupant.epoch, Some((number, occupant)));
    }

    /// Stores, as a coalesced write, whether the holder of a seat is away and until when the seat is kept.
    pub(in crate::room) fn mark_hold(&self, seat: u16, occupant: &Occupant) {
        let Some(profile) = &self.profile else {
            return;
        };
        let (room, session, now) = (profile.id, occupant.session, self.now());
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
        self.context.persistence.mark(mark);
    }

    fn confirm(&self, session: SessionId, epoch: AttachSeq, seat: Option<(u16, &Occupant)>) {
        let Some(profile) = &self.profile else {
            return;
        };
        let news = SeatEvent::Confirmed {
            room: profile.id,
            epoch,
            seat: seat.and_then(|(number, occupant)| self.holding(number, occupant)),
        };
        self.notify(session, news);
    }

    /// Handles a session that lost the connection with that attach sequence.
    pub(in crate::room) async fn away(&mut self, session: SessionId, epoch: AttachSeq) {
        let Some(profile) = &self.profile else {
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
        self.record(number, Duration::ZERO).await;
    }

    pub(in crate::room) async fn wake_at(&self, seat: u16, hold_until: HubTime) {
        let delay = hold_until.since(self.now());
        self.wake(delay, Wake::Hold { seat, hold_until }).await;
    }
}

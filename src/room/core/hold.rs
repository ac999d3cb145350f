//! Extension of the hold of an away seat.

use std::time::Duration;

use super::Room;
use super::claim::refusal;
use crate::clock::HubTime;
use crate::mailbox::answer;
use crate::persistence::{HoldSeat, SeatCommand, Write, WriteError};
use crate::room::message::{Change, ExtendedHold, HoldRequest, SeatLookup};
use crate::room::rules::queued_change::Completion;
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::{HeldSeat, SeatEvent};
use crate::wire::RoomEvent;
use crate::wire::{Reason, Refusal};

impl Room {
    /// Keeps an away seat for at least this time from now. A held seat has no running hold and is left as it is.
    pub(in crate::room) async fn hold(&mut self, request: HoldRequest) {
        let HoldRequest {
            seat: number,
            at_least,
            key,
            reply,
        } = request;
        if self.is_halted() {
            answer(reply, Err(Refusal::stopping()));
            return;
        }
        let hold_until = self.now().plus(at_least);
        let is_longer = self.seating.extend(number, hold_until);
        let Some((occupant, holding)) = self.holder(number) else {
            let detail = format!("seat {number} of this room has no holder");
            answer(reply, Err(Refusal::new(Reason::SeatNotFound, detail)));
            return;
        };
        if is_longer {
            self.lasts_longer(number, &occupant, hold_until).await;
        }
        // Written even if the hold was long enough: the answer must be stored.
        let seat = holding.view(self.now());
        let Some(end) = occupant.hold_until else {
            let is_stored = false;
            answer(reply, Ok(ExtendedHold { seat, is_stored }));
            return;
        };
        let once = key.map(|key| key.answered(&seat));
        let is_stored = once.is_some();
        let command = SeatCommand::Hold(HoldSeat {
            room: holding.room,
            seat: number,
            session: occupant.session,
            hold_until: end,
        });
        let write = Write::once(command, once);
        let change = Change::Hold {
            seat: number,
            session: occupant.session,
            longer: is_longer.then_some(at_least),
        };
        let hear = Completion::new(move |result| {
            answer(
                reply,
                match result {
                    Ok(_) => Ok(ExtendedHold { seat, is_stored }),
                    Err(WriteError::Refused(refused)) => Err(refusal(refused)),
                    Err(WriteError::Lost) => Err(Refusal::unavailable()),
                },
            );
        });
        self.write_told(write, change, hear);
    }

    /// Extends a hold by the time that its holder has to wait. Repeated requests never extend it beyond a whole
    /// grace period after that time.
    pub(in crate::room) async fn delayed(&mut self, sitter: &SeatLookup, by: Duration) {
        let Some(profile) = &self.profile else {
            return;
        };
        let most = self.now().plus(profile.grace).plus(by);
        let number = match sitter {
            SeatLookup::Session(session) => self.seating.seat_of(*session),
            SeatLookup::User(user) => self.seating.seat_of_user(user),
        };
        let Some(number) = number else {
            return;
        };
        let Some(occupant) = self.seating.occupant(number).cloned() else {
            return;
        };
        if let Some(end) = occupant.hold_until {
            let hold_until = end.plus(by).min(most);
            if self.seating.extend(number, hold_until) {
                self.lasts_longer(number, &occupant, hold_until).await;
            }
        }
    }

    /// Handles a longer hold that is stored as that of an away seat, whose holder may be back by now. `longer` is its
    /// length if members have not received that yet.
    pub(super) fn hold_committed(&mut self, number: u16, longer: Option<Duration>) {
        let Some(occupant) = self.seating.occupant(number).cloned() else {
            return;
        };
        if occupant.hold_until.is_none() {
            self.mark_hold(number, &occupant);
        } else if let Some(longer) = longer {
            let note = self.seat_body(number, &occupant).hold(longer);
            self.announce(&RoomEvent::Away(note));
        }
    }

    /// Stores, announces and schedules the new end of a hold.
    async fn lasts_longer(&self, number: u16, occupant: &Occupant, hold_until: HubTime) {
        let Some(profile) = &self.profile else {
            return;
        };
        let (room, session) = (profile.id, occupant.session);
        // Replaces a coalesced write that may be pending with the old end.
        let longer = Occupant {
            hold_until: Some(hold_until),
            ..occupant.clone()
        };
        self.mark_hold(number, &longer);
        self.notify(session, SeatEvent::Extended { room, hold_until });
        self.wake_at(number, hold_until).await;
    }

    fn holder(&self, number: u16) -> Option<(Occupant, HeldSeat)> {
        let occupant = self.seating.occupant(number)?.clone();
        let holding = self.holding(number, &occupant)?;
        Some((occupant, holding))
    }
}

//! Extension of the hold of an away seat.

use std::time::Duration;

use crate::clock::HubTime;
use crate::id::SessionId;
use crate::persistence::{HoldSeat, Refused, SeatCommand, Write};
use crate::room::core::Room;
use crate::room::core::seat::claim::refusal;
use crate::room::message::{Change, ExtendedHold, HoldRequest, SeatLookup};
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::{HeldSeat, SeatEvent};
use crate::wire::{Reason, Refusal, RoomEvent};

impl Room {
    /// Keeps an away seat for at least this time from now. A held seat has no running hold and is left as it is.
    pub(in crate::room) fn hold(&mut self, request: HoldRequest) {
        let HoldRequest {
            seat: number,
            at_least,
            key,
            reply,
        } = request;
        if self.is_halted() {
            self.answer(reply, Err(Refusal::stopping()));
            return;
        }
        let hold_until = self.now().plus(at_least);
        let is_longer = self.seating.extend(number, hold_until);
        let Some((occupant, holding)) = self.holder(number) else {
            let detail = format!("seat {number} of this room has no holder");
            self.answer(reply, Err(Refusal::new(Reason::SeatNotFound, detail)));
            return;
        };
        if is_longer {
            self.lasts_longer(number, &occupant, hold_until);
        }
        // Written even if the hold was long enough: the answer must be stored.
        let seat = holding.view(self.now());
        let Some(end) = occupant.hold_until else {
            let is_stored = false;
            self.answer(reply, Ok(ExtendedHold { seat, is_stored }));
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
        let asked = self.waiting.holds_asked;
        self.waiting.holds_asked += 1;
        let answer = ExtendedHold { seat, is_stored };
        self.waiting.holds.insert(asked, (reply, answer));
        let change = Change::Hold {
            number: asked,
            seat: number,
            session: occupant.session,
            longer: is_longer.then_some(at_least),
        };
        self.write_told(write, change);
    }

    /// Answers the request with that number, whose outcome is known.
    pub(in crate::room) fn hold_is_answered(&mut self, number: u64, outcome: Result<(), Refusal>) {
        if let Some((reply, answer)) = self.waiting.holds.remove(&number) {
            self.answer(reply, outcome.map(|()| answer));
        }
    }

    /// Handles an extension that could not be stored. The seat may be another's by now, or nobody's, which the room may
    /// not know yet. After any other refusal the hold is longer than the row says, which does no harm.
    pub(in crate::room) fn hold_refused(
        &mut self,
        number: u64,
        seat: u16,
        session: SessionId,
        refused: &Refused,
    ) {
        self.hold_is_answered(number, Err(refusal(refused)));
        let holder = self.seating.occupant(seat);
        let sits = holder.is_some_and(|holder| holder.session == session);
        if *refused == Refused::SeatChanged && sits {
            self.doubt(seat);
        }
    }

    /// Extends a hold by the time that its holder has to wait. Repeated requests never extend it beyond a whole
    /// grace period after that time.
    pub(in crate::room) fn delayed(&mut self, sitter: &SeatLookup, by: Duration) {
        let Some(profile) = &self.identity.profile else {
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
                self.lasts_longer(number, &occupant, hold_until);
            }
        }
    }

    /// Handles a longer hold that is stored as that of an away seat, whose holder may be back by now. `longer` is its
    /// length if members have not received that yet.
    pub(in crate::room) fn hold_committed(&mut self, number: u16, longer: Option<Duration>) {
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
    fn lasts_longer(&mut self, number: u16, occupant: &Occupant, hold_until: HubTime) {
        let Some(room) = self.id() else {
            return;
        };
        let session = occupant.session;
        // Replaces a coalesced write that may be pending with the old end.
        let longer = Occupant {
            hold_until: Some(hold_until),
            ..occupant.clone()
        };
        self.mark_hold(number, &longer);
        self.notify(session, SeatEvent::Extended { room, hold_until });
        self.wake_at(number, hold_until);
    }

    fn holder(&self, number: u16) -> Option<(Occupant, HeldSeat)> {
        let occupant = self.seating.occupant(number)?.clone();
        let holding = self.holding(number, &occupant)?;
        Some((occupant, holding))
    }
}

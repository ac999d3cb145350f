//! A seat whose row differs from the room's state: the row is read, and this one seat is corrected.
//!
//! This happens where a coalesced write was lost, and where a session has ended and its room does not know it yet.
//! Other seats of the room are not concerned.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::id::SessionId;
use crate::persistence::StoredSeat;
use crate::room::core::effect::{Effect, SeatToRead};
use crate::room::core::{Contradiction, Room};
use crate::room::message::SeatRead;
use crate::room::seat_event::SeatEvent;
use crate::token::SeatTokenError;
use crate::wire::{Refusal, ReleaseReason, UserView};

/// The wait before a row is read again: because the read failed, or because the row is gone and the end of its
/// session may be on its way to the room.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);

impl Room {
    /// Starts to read the row of a seat.
    pub(in crate::room) fn doubt(&mut self, number: u16) {
        let Some(occupant) = self.seating.concerned(number) else {
            return;
        };
        let session = occupant.session;
        warn!(
            room = %self.identity.channel,
            seat = number,
            %session,
            "a seat differs from its row in the database, reading the row"
        );
        metrics::counter!("holdfast_seats_corrected_total").increment(1);
        self.read_seat(number, session, false, Duration::ZERO);
    }

    fn read_seat(&mut self, number: u16, session: SessionId, is_second: bool, after: Duration) {
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let read = SeatToRead {
            code: profile.code,
            room: profile.id,
            number,
            session,
            is_second,
        };
        self.push(Effect::ReadSeat { after, read });
    }

    pub(in crate::room) fn seat_read(&mut self, read: SeatRead) -> Result<(), Contradiction> {
        let SeatRead {
            number,
            session,
            row,
            is_second,
        } = read;
        let holder = self.seating.concerned(number);
        if holder.is_none_or(|holder| holder.session != session) {
            // The room knows of the end of the session by now.
            return Ok(());
        }
        match row {
            Err(_) => self.read_seat(number, session, is_second, READ_RETRY_DELAY),
            Ok(None) if !is_second => self.read_seat(number, session, true, READ_RETRY_DELAY),
            Ok(None) => self.is_gone(number, session),
            Ok(Some(row)) if row.session == session => self.is_there(number, &row),
            Ok(Some(_)) => {
                return Err(format!("seat {number} is another's in the database").into());
            }
        }
        Ok(())
    }

    /// Corrects the seat of a session that holds it. The refused change is tried again once the row is right.
    fn is_there(&mut self, number: u16, row: &StoredSeat) {
        let user = UserView {
            id: row.user.clone(),
            name: Arc::clone(&row.user_name),
        };
        if self.seating.correct(number, user, row.tokens) {
            let (room, tokens) = (row.room, row.tokens);
            self.notify(row.session, SeatEvent::TokensEnded { room, tokens });
        }
        if self.seating.is_moved(number) {
            self.give_seat_back(number, &Refusal::unavailable());
        }
        self.keep(number);
        if let Some(occupant) = self.seating.occupant(number).cloned()
            && occupant.hold_until != row.hold_until
        {
            self.mark_hold(number, &occupant);
        }
    }

    /// Empties a seat whose row is gone: its session has ended while the room was down, so the room was not notified.
    fn is_gone(&mut self, number: u16, session: SessionId) {
        let Some((_, occupant)) = self.seating.vacate(session) else {
            return;
        };
        info!(room = %self.identity.channel, seat = number, %session, "a seat had been released before");
        let reason = ReleaseReason::SessionEnded;
        self.announce_released(number, &occupant, reason);
        self.released(number, &occupant, reason);
        if let Some(room) = self.id() {
            self.notify(session, SeatEvent::Released { room });
        }
        for reply in self.waiting.releases.remove(&number).unwrap_or_default() {
            self.answer(reply, Ok(()));
        }
        for request in self.waiting.takes.remove(&number).unwrap_or_default() {
            self.answer(request.reply, Err(SeatTokenError::Released.refuse()));
        }
    }
}

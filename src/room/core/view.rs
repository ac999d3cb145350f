//! The public view of a room.

use std::sync::Arc;

use crate::persistence::{StoredRoom, StoredSeat};
use crate::room::core::{Phase, Profile, Room};
use crate::room::registry::channel;
use crate::room::rules::kind::Kind;
use crate::room::rules::seats::{Occupant, Seats};
use crate::room::seat_event::AttachSeq;
use crate::wire::{RoomStatus, RoomView, UserView};

impl Room {
    /// Returns the current view; None for an open channel.
    pub(in crate::room) fn view(&self) -> Option<RoomView> {
        self.view_with(&self.seating)
    }

    /// Returns the view with other seats than the current ones.
    pub(in crate::room) fn view_with(&self, seating: &Seats) -> Option<RoomView> {
        let profile = self.identity.profile.as_ref()?;
        Some(profile.view(
            &self.identity.kind,
            &self.identity.channel,
            self.life.phase,
            seating,
        ))
    }
}

impl Profile {
    fn view(&self, kind: &Kind, channel: &Arc<str>, phase: Phase, seating: &Seats) -> RoomView {
        RoomView {
            id: self.id,
            code: self.code,
            kind: Arc::clone(&kind.name),
            channel: Arc::clone(channel),
            status: self.status(phase, seating),
            capacity: kind.config.seats,
            current_game_id: self.current_game_id.clone(),
            settings: Arc::clone(&self.settings),
            seats: seating.views(kind),
        }
    }

    fn status(&self, phase: Phase, seating: &Seats) -> RoomStatus {
        match phase {
            Phase::Closing | Phase::Closed => RoomStatus::Closed,
            Phase::Open | Phase::Retired => {
                if self.current_game_id.is_some() {
                    RoomStatus::Playing
                } else if seating.is_complete() {
                    RoomStatus::Ready
                } else {
                    RoomStatus::Open
                }
            }
        }
    }
}

/// Returns the view of a room at the moment when it is stored like this.
pub fn opened_view(kind: &Kind, stored: &StoredRoom) -> RoomView {
    let mut seating = Seats::new(kind.config.seats, &stored.seats);
    for seat in &stored.seats {
        seating.put(seat.number, Occupant::stored(seat, AttachSeq(0)));
    }
    Profile::stored(stored).view(
        kind,
        &channel(&kind.name, stored.code),
        Phase::Open,
        &seating,
    )
}

impl Occupant {
    /// Returns the occupant of a stored seat.
    pub(in crate::room) fn stored(seat: &StoredSeat, epoch: AttachSeq) -> Occupant {
        Occupant {
            recorded: seat.hold_until,
            session: seat.session,
            user: UserView {
                id: seat.user.clone(),
                name: Arc::clone(&seat.user_name),
            },
            epoch,
            hold_until: seat.hold_until,
            tokens: seat.tokens,
        }
    }
}

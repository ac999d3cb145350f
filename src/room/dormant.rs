//! Dormant rooms: after a start they are rows first, and their actors are started one after another or on request.

use std::collections::HashMap;

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::registry::Rooms;
use crate::id::RoomCode;
use crate::matchmaking::Supply;

/// A room with seats, before it is started.
#[derive(Debug)]
pub struct DormantRoom {
    pub code: RoomCode,
    pub kind: String,
    /// The numbers of the held seats, ascending.
    pub seats: Vec<u16>,
}

/// The rooms that have held seats and no actor. All their holders are away. Empty except for the
/// first seconds after a start.
#[derive(Debug)]
pub(super) struct Dormant {
    /// The number of held seats of each room.
    rooms: Mutex<HashMap<RoomCode, u32>>,
    waiting: Gauge,
    live: Gauge,
    away: Gauge,
}

impl Dormant {
    /// Creates the gauges, for which the recorder must be installed.
    pub(super) fn new() -> Dormant {
        Dormant {
            rooms: Mutex::default(),
            waiting: gauge!("holdfast_rooms_dormant"),
            live: gauge!("holdfast_rooms"),
            away: gauge!("holdfast_seats", "status" => "away"),
        }
    }

    fn add(&self, code: RoomCode, seats: u32) {
        self.count(1.0, f64::from(seats));
        self.rooms.lock().insert(code, seats);
    }

    pub(super) fn has(&self, code: RoomCode) -> bool {
        self.rooms.lock().contains_key(&code)
    }

    /// Removes a room that has an actor now, which counts for itself.
    pub(super) fn wake(&self, code: RoomCode) {
        if let Some(seats) = self.rooms.lock().remove(&code) {
            self.count(-1.0, -f64::from(seats));
        }
    }

    /// Removes all rooms.
    pub(super) fn end(&self) {
        for seats in std::mem::take(&mut *self.rooms.lock()).into_values() {
            self.count(-1.0, -f64::from(seats));
        }
    }

    fn count(&self, rooms: f64, seats: f64) {
        self.waiting.increment(rooms);
        self.live.increment(rooms);
        self.away.increment(seats);
    }
}

impl Rooms {
    /// Adds a room that will be started later. From now on the matchmaker may send players there; the
    /// first request starts the room.
    pub fn add_dormant(&self, room: &DormantRoom) {
        let context = self.context();
        let Some(kind) = context.kinds.get(&room.kind) else {
            return;
        };
        let is_free = |seat: u16| room.seats.binary_search(&seat).is_err();
        let supply = Supply {
            kind: kind.name.clone(),
            free: kind.free(is_free),
        };
        context.matchmaker.supply(room.code, supply);
        let seats = u32::try_from(room.seats.len()).unwrap_or(u32::MAX);
        context.dormant.add(room.code, seats);
    }

    /// Returns whether a room with this code has held seats and waits to be started.
    pub fn is_dormant(&self, code: RoomCode) -> bool {
        self.context().dormant.has(code)
    }
}

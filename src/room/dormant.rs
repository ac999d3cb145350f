//! Rooms that are rows still: after a start their actors come in their turn, or when somebody asks for one.

use std::collections::HashMap;

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::registry::Rooms;
use crate::id::RoomCode;
use crate::matchmaking::Supply;

/// A room with seats, as it is before it is started.
#[derive(Debug)]
pub struct DormantRoom {
    pub code: RoomCode,
    pub kind: String,
    /// The numbers of the seats that somebody holds, ascending.
    pub seats: Vec<u16>,
}

/// The rooms that have seats and no actor. Everybody who sits there is away. Empty but for the first seconds of a run.
#[derive(Debug)]
pub(super) struct Dormant {
    /// The number of seats that are held in each.
    rooms: Mutex<HashMap<RoomCode, u32>>,
    waiting: Gauge,
    live: Gauge,
    away: Gauge,
}

impl Dormant {
    /// To be made after the recorder is installed.
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

    /// A room has an actor now, which counts for itself.
    pub(super) fn wake(&self, code: RoomCode) {
        if let Some(seats) = self.rooms.lock().remove(&code) {
            self.count(-1.0, -f64::from(seats));
        }
    }

    /// Nothing is dormant any more.
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
    /// Takes note of a room that will be started in its turn. The matchmaker may send players there from now on: whoever
    /// is the first to ask for it has it started.
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

    /// Whether a room with this code has seats and waits to be started.
    pub fn is_dormant(&self, code: RoomCode) -> bool {
        self.context().dormant.has(code)
    }
}

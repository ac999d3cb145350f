//! The seats of one session. Nearly every session has only one, so the list takes no more memory than it needs.

use crate::id::RoomId;
use crate::room::HeldSeat;

/// A list of at most one seat per room, in the order in which the rooms were created.
#[derive(Debug, Default)]
pub(crate) struct Seats(Vec<HeldSeat>);

impl Seats {
    pub(crate) fn get(&self, room: RoomId) -> Option<&HeldSeat> {
        self.place(room).ok().map(|place| &self.0[place])
    }

    pub(crate) fn get_mut(&mut self, room: RoomId) -> Option<&mut HeldSeat> {
        self.place(room).ok().map(|place| &mut self.0[place])
    }

    /// Adds a seat, or replaces the one in the same room.
    pub(crate) fn insert(&mut self, seat: HeldSeat) {
        match self.place(seat.room) {
            Ok(place) => self.0[place] = seat,
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, seat);
            }
        }
    }

    pub(crate) fn remove(&mut self, room: RoomId) {
        if let Ok(place) = self.place(room) {
            self.0.remove(place);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeldSeat> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut HeldSeat> {
        self.0.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, room: RoomId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&room, |seat| seat.room)
    }
}

impl From<Vec<HeldSeat>> for Seats {
    fn from(mut seats: Vec<HeldSeat>) -> Seats {
        seats.sort_by_key(|seat| seat.room);
        seats.shrink_to_fit();
        Seats(seats)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::HubTime;
    use crate::id::RoomCode;
    use crate::token::Generations;

    fn seat(room: RoomId, number: u16) -> HeldSeat {
        HeldSeat {
            room,
            code: RoomCode::random(),
            channel: "table:x".into(),
            number,
            team: None,
            grace: Duration::from_secs(1),
            hold_until: None,
            tokens: Generations::begin(HubTime(0)),
        }
    }

    fn numbers(seats: &Seats) -> Vec<u16> {
        seats.iter().map(|seat| seat.number).collect()
    }

    #[test]
    fn a_room_has_one_seat_and_the_older_room_comes_first() {
        let (older, newer) = (RoomId::new(), RoomId::new());
        let mut seats = Seats::from(vec![seat(newer, 1)]);

        seats.insert(seat(older, 2));
        seats.insert(seat(newer, 3));

        assert_eq!(numbers(&seats), [2, 3]);
        assert_eq!(seats.get(newer).unwrap().number, 3);
        seats.remove(older);
        seats.remove(older);
        assert_eq!(numbers(&seats), [3]);
        assert!(seats.get(older).is_none());
    }
}

//! The matchmaker's rules, without an actor: free seats in, the choice of a room out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::id::RoomCode;

/// The free seats of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    pub kind: Arc<str>,
    /// Free seats by team; one entry without a name where the kind has no teams.
    pub free: Vec<(Option<Arc<str>>, u16)>,
}

impl Supply {
    fn total(&self) -> u16 {
        self.free.iter().map(|(_, seats)| seats).sum()
    }

    fn fits(&self, team: Option<&str>) -> bool {
        match team {
            None => self.total() > 0,
            Some(team) => self
                .free
                .iter()
                .any(|(name, seats)| name.as_deref() == Some(team) && *seats > 0),
        }
    }
}

/// The free seats of all live rooms.
#[derive(Debug, Default)]
pub(super) struct Supplies {
    rooms: HashMap<RoomCode, Supply>,
    /// The rooms of each kind by free seats, the fullest first.
    order: HashMap<Arc<str>, BTreeSet<(u16, RoomCode)>>,
}

impl Supplies {
    /// Records a room's free seats. A full room is removed.
    pub(super) fn set(&mut self, code: RoomCode, supply: Supply) {
        self.remove(code);
        let free = supply.total();
        if free > 0 {
            self.order
                .entry(Arc::clone(&supply.kind))
                .or_default()
                .insert((free, code));
            self.rooms.insert(code, supply);
        }
    }

    pub(super) fn remove(&mut self, code: RoomCode) {
        if let Some(old) = self.rooms.remove(&code)
            && let Some(order) = self.order.get_mut(&old.kind)
        {
            order.remove(&(old.total(), code));
        }
    }

    /// Returns the fullest room of a kind that has a seat (in the team, if one is requested) and was not tried
    /// before.
    pub(super) fn fullest(
        &self,
        kind: &str,
        team: Option<&str>,
        tried: &[RoomCode],
    ) -> Option<RoomCode> {
        self.order
            .get(kind)?
            .iter()
            .map(|(_, code)| *code)
            .find(|code| !tried.contains(code) && self.rooms[code].fits(team))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(free: u16) -> Supply {
        Supply {
            kind: "table".into(),
            free: vec![(None, free)],
        }
    }

    #[test]
    fn the_fullest_room_that_was_not_tried_is_chosen() {
        let mut supplies = Supplies::default();
        let [a, b, c] = [(); 3].map(|()| RoomCode::random());
        supplies.set(a, supply(5));
        supplies.set(b, supply(1));
        supplies.set(c, supply(3));

        assert_eq!(supplies.fullest("table", None, &[]), Some(b));
        assert_eq!(supplies.fullest("table", None, &[b]), Some(c));
        assert_eq!(supplies.fullest("duel", None, &[]), None);
    }

    #[test]
    fn a_room_that_fills_up_is_offered_no_more() {
        let mut supplies = Supplies::default();
        let code = RoomCode::random();
        supplies.set(code, supply(1));
        supplies.set(code, supply(0));

        assert_eq!(supplies.fullest("table", None, &[]), None);
    }

    #[test]
    fn a_team_is_found_only_where_it_has_a_seat() {
        let mut supplies = Supplies::default();
        let code = RoomCode::random();
        let free = vec![(Some("blue".into()), 0), (Some("red".into()), 2)];
        let kind = "match".into();
        supplies.set(code, Supply { kind, free });

        assert_eq!(supplies.fullest("match", Some("red"), &[]), Some(code));
        assert_eq!(supplies.fullest("match", Some("blue"), &[]), None);
        assert_eq!(supplies.fullest("match", Some("green"), &[]), None);
    }
}

//! The rules of seats: pure, with no actor, database or socket.
//!
//! A claim takes a seat from empty through claimed to taken, and a release takes it through releasing back to empty.
//! A takeover puts it through moving to another session of the same user. In claimed, releasing and moving the change
//! is being written: the seat is not available to anybody else, and a refusal restores the previous state.

use std::sync::Arc;

use super::kind::Kind;
pub(in crate::room) use super::seat::Occupant;
use super::seat::Place;
use crate::clock::HubTime;
use crate::id::{SessionId, UserId};
use crate::persistence::StoredSeat;
use crate::room::seat_event::AttachSeq;
use crate::token::{Claims, GenerationStatus, Generations, SeatTokenError};
use crate::wire::{PlaceView, Reason, Refusal, SeatStatus, UserView};

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) enum Claim {
    /// The session holds this seat already.
    Sits(u16),
    /// The session's claim for this seat is being written.
    Pending(u16),
    /// This seat is free for the session.
    Free(u16),
}

/// The verdict on a seat token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) enum Presented {
    Good,
    /// A takeover is being written: check again when its outcome is known.
    Later,
    /// A claim or a release is being written, so the holder is not known yet.
    Unsettled,
    Reused,
    Bad(SeatTokenError),
}

/// The seats of one room.
#[derive(Debug, Clone)]
pub(in crate::room) struct Seats {
    places: Vec<Place>,
}

impl Seats {
    /// Creates empty seats: as many as the kind has, or more if some were taken when it had more.
    pub(in crate::room) fn new(seats: u16, taken: &[StoredSeat]) -> Seats {
        let taken = taken.iter().map(|seat| usize::from(seat.number) + 1);
        let count = taken.fold(usize::from(seats), usize::max);
        Seats {
            places: vec![Place::Empty; count],
        }
    }

    /// Returns the seat that a session would get.
    pub(in crate::room) fn claim(
        &self,
        kind: &Kind,
        session: SessionId,
        user: &UserId,
        seat: Option<u16>,
        team: Option<&str>,
    ) -> Result<Claim, Refusal> {
        let wanted = kind.wanted(seat, team)?;
        if let Some((number, place)) = self.of_user(user) {
            return place.claimed_again(
                session,
                number,
                seat.is_none() || wanted.contains(&number),
            );
        }
        let free = wanted
            .iter()
            .find(|number| self.places[usize::from(**number)] == Place::Empty);
        match (free, seat) {
            (Some(number), _) => Ok(Claim::Free(*number)),
            (None, Some(number)) => {
                let detail = format!("seat {number} is taken");
                Err(Refusal::new(Reason::SeatTaken, detail))
            }
            (None, None) => {
                let detail = format!("all {} seats asked for are taken", wanted.len());
                Err(Refusal::new(Reason::RoomFull, detail))
            }
        }
    }

    /// Reserves an empty seat for a claim that is being written.
    pub(in crate::room) fn reserve(&mut self, number: u16, occupant: Occupant) {
        debug_assert_eq!(self.places[usize::from(number)], Place::Empty);
        self.places[usize::from(number)] = Place::Claimed(occupant);
    }

    /// Puts a holder into a seat, as stored in the database.
    pub(in crate::room) fn put(&mut self, number: u16, occupant: Occupant) {
        self.places[usize::from(number)] = Place::Taken(occupant);
    }

    /// Confirms a claim that is committed.
    pub(in crate::room) fn confirm(&mut self, number: u16, name: Arc<str>) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        if let Place::Claimed(occupant) = place {
            let mut occupant = occupant.clone();
            occupant.user.name = name;
            *place = Place::Taken(occupant);
        }
        place.taken()
    }

    /// Cancels a claim that was refused.
    pub(in crate::room) fn refuse(&mut self, number: u16) {
        let place = &mut self.places[usize::from(number)];
        if matches!(place, Place::Claimed(_)) {
            *place = Place::Empty;
        }
    }

    /// Empties a seat whose release is committed. Returns its former holder.
    pub(in crate::room) fn released(&mut self, number: u16) -> Option<Occupant> {
        let place = &mut self.places[usize::from(number)];
        let Place::Releasing(occupant) = place else {
            return None;
        };
        let occupant = occupant.clone();
        *place = Place::Empty;
        Some(occupant)
    }

    /// Empties the seat of a session that has ended.
    pub(in crate::room) fn vacate(&mut self, session: SessionId) -> Option<(u16, Occupant)> {
        let (number, occupant) = self.occupant_mut(session)?;
        let occupant = occupant.clone();
        self.places[usize::from(number)] = Place::Empty;
        Some((number, occupant))
    }

    /// Marks a session's seat as releasing until that is written. Returns None if it holds none.
    pub(in crate::room) fn release(&mut self, session: SessionId) -> Option<u16> {
        let number = self.seat_of(session)?;
        let place = &mut self.places[usize::from(number)];
        *place = Place::Releasing(place.settled()?.clone());
        Some(number)
    }

    /// Marks a seat whose hold has ended as releasing, if it is still away with that very hold.
    pub(in crate::room) fn expire(
        &mut self,
        number: u16,
        hold_until: HubTime,
        now: HubTime,
    ) -> Option<SessionId> {
        let place = self.places.get_mut(usize::from(number))?;
        let occupant = place.settled()?;
        if occupant.hold_until != Some(hold_until) || now < hold_until {
            return None;
        }
        let occupant = occupant.clone();
        let session = occupant.session;
        *place = Place::Releasing(occupant);
        Some(session)
    }

    /// Keeps a seat whose release could not be written. Returns false if it was released by other means.
    pub(in crate::room) fn keep(&mut self, number: u16) -> bool {
        let place = &mut self.places[usize::from(number)];
        let Place::Releasing(occupant) = place else {
            return false;
        };
        *place = Place::Taken(occupant.clone());
        true
    }

    /// Records the hold of a seat as it is now. Returns the occupant as it was before.
    pub(in crate::room) fn record(&mut self, number: u16) -> Option<Occupant> {
        let place = self.places.get_mut(usize::from(number))?;
        place.taken()?;
        let occupant = place.occupant_mut()?;
        let before = occupant.clone();
        occupant.recorded = occupant.hold_until;
        Some(before)
    }

    /// Marks the session as attached. Returns its seat if that was away until now.
    pub(in crate::room) fn back(&mut self, session: SessionId, epoch: AttachSeq) -> Option<u16> {
        let (number, occupant) = self.occupant_mut(session)?;
        if epoch < occupant.epoch {
            return None;
        }
        occupant.epoch = epoch;
        occupant.hold_until.take().map(|_| number)
    }

    /// Marks the session as away if it lost the connection with that attach sequence. Returns its seat
    /// if that was held until now.
    pub(in crate::room) fn away(
        &mut self,
        session: SessionId,
        epoch: AttachSeq,
        hold_until: HubTime,
    ) -> Option<u16> {
        let (number, occupant) = self.occupant_mut(session)?;
        if epoch != occupant.epoch || occupant.hold_until.is_some() {
            return None;
        }
        occupant.hold_until = Some(hold_until);
        Some(number)
    }

    /// Extends a hold, but never shortens it. Returns whether it has changed; a held seat has no hold.
    pub(in crate::room) fn extend(&mut self, number: u16, hold_until: HubTime) -> bool {
        let Some(Place::Taken(occupant)) = self.places.get_mut(usize::from(number)) else {
            return false;
        };
        match &mut occupant.hold_until {
            Some(end) if *end < hold_until => {
                *end = hold_until;
                occupant.recorded = Some(hold_until);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Returns the verdict on a seat token with these claims.
    pub(in crate::room) fn presented(&self, claims: &Claims) -> Presented {
        let Some(place) = self.places.get(usize::from(claims.seat)) else {
            return Presented::Bad(SeatTokenError::Foreign);
        };
        let occupant = match place {
            Place::Taken(occupant) if occupant.user.id == claims.user => occupant,
            Place::Moving(occupant) if occupant.user.id == claims.user => return Presented::Later,
            Place::Claimed(occupant) | Place::Releasing(occupant)
                if occupant.user.id == claims.user =>
            {
                return Presented::Unsettled;
            }
            Place::Empty
            | Place::Claimed(_)
            | Place::Taken(_)
            | Place::Moving(_)
            | Place::Releasing(_) => return Presented::Bad(SeatTokenError::Released),
        };
        match occupant.tokens.worth(claims.generation) {
            GenerationStatus::Offered | GenerationStatus::Confirmed => Presented::Good,
            GenerationStatus::Reused => Presented::Reused,
            GenerationStatus::Ended => Presented::Bad(SeatTokenError::Ended),
            GenerationStatus::Unknown => Presented::Bad(SeatTokenError::Foreign),
        }
    }

    /// Marks a seat as moving to another session of its user, until that is written.
    pub(in crate::room) fn begin_move(&mut self, number: u16) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        *place = Place::Moving(place.settled()?.clone());
        place.taken()
    }

    /// Completes a committed move. Returns the old and the new holder.
    pub(in crate::room) fn moved(
        &mut self,
        number: u16,
        newcomer: impl FnOnce(&Occupant) -> Occupant,
    ) -> Option<(Occupant, Occupant)> {
        let place = &mut self.places[usize::from(number)];
        let Place::Moving(older) = place else {
            return None;
        };
        let older = older.clone();
        let newcomer = newcomer(&older);
        *place = Place::Taken(newcomer.clone());
        Some((older, newcomer))
    }

    /// Keeps a seat with its holder after the move could not be written. Returns None if it
    /// was released by other means.
    pub(in crate::room) fn end_move(&mut self, number: u16) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        let Place::Moving(occupant) = place else {
            return None;
        };
        *place = Place::Taken(occupant.clone());
        place.taken()
    }

    /// Returns whether a takeover of the seat is being written.
    pub(in crate::room) fn is_moved(&self, number: u16) -> bool {
        matches!(self.places.get(usize::from(number)), Some(Place::Moving(_)))
    }

    /// Sets a seat's user and token generations to those of the database. Returns whether the generations differed.
    pub(in crate::room) fn correct(
        &mut self,
        number: u16,
        user: UserView,
        tokens: Generations,
    ) -> bool {
        let place = self.places.get_mut(usize::from(number));
        if let Some(occupant) = place.and_then(Place::occupant_mut) {
            occupant.user = user;
        }
        self.set_tokens(number, tokens)
    }

    /// Sets a seat's token generations to those of the database. Returns whether they differed.
    pub(in crate::room) fn set_tokens(&mut self, number: u16, tokens: Generations) -> bool {
        let place = self.places.get_mut(usize::from(number));
        let Some(occupant) = place.and_then(Place::occupant_mut) else {
            return false;
        };
        std::mem::replace(&mut occupant.tokens, tokens) != tokens
    }

    /// Returns whether a seat is being taken over from the session.
    pub(in crate::room) fn is_moving(&self, session: SessionId) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Moving(occupant) if occupant.session == session))
    }

    /// Returns the seat that a session holds, but not one that it is claiming or releasing.
    pub(in crate::room) fn seat_of(&self, session: SessionId) -> Option<u16> {
        self.taken()
            .find(|(_, occupant)| occupant.session == session)
            .map(|(number, _)| number)
    }

    pub(in crate::room) fn seat_of_user(&self, user: &UserId) -> Option<u16> {
        self.taken()
            .find(|(_, occupant)| occupant.user.id == *user)
            .map(|(number, _)| number)
    }

    /// Returns whether the session holds, claims or releases a seat.
    pub(in crate::room) fn is_known(&self, session: SessionId) -> bool {
        self.places
            .iter()
            .filter_map(Place::occupant)
            .any(|occupant| occupant.session == session)
    }

    /// Returns whether the release of a session's seat is being written.
    pub(in crate::room) fn is_releasing(&self, session: SessionId) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Releasing(occupant) if occupant.session == session))
    }

    pub(in crate::room) fn taken(&self) -> impl Iterator<Item = (u16, &Occupant)> {
        (0_u16..)
            .zip(&self.places)
            .filter_map(|(number, place)| Some((number, place.taken()?)))
    }

    pub(in crate::room) fn occupant(&self, number: u16) -> Option<&Occupant> {
        self.places.get(usize::from(number))?.taken()
    }

    /// Returns the session's occupant that holds, claims or releases a seat.
    pub(in crate::room) fn concerned(&self, number: u16) -> Option<&Occupant> {
        self.places.get(usize::from(number))?.occupant()
    }

    /// Returns whether a connection was replaced by a newer one of its session.
    pub(in crate::room) fn is_outdated(&self, session: SessionId, epoch: AttachSeq) -> bool {
        self.places
            .iter()
            .filter_map(Place::occupant)
            .any(|occupant| occupant.session == session && occupant.epoch > epoch)
    }

    /// Returns whether a change of a seat is being written.
    pub(in crate::room) fn is_settling(&self) -> bool {
        self.places
            .iter()
            .any(|place| !matches!(place, Place::Empty | Place::Taken(_)))
    }

    /// Returns the number of held seats and of away seats.
    pub(in crate::room) fn count(&self) -> (u32, u32) {
        let holders = self.places.iter().filter_map(|place| match place {
            Place::Empty | Place::Claimed(_) => None,
            Place::Taken(occupant) | Place::Moving(occupant) | Place::Releasing(occupant) => {
                Some(occupant)
            }
        });
        holders.fold((0, 0), |(held, away), occupant| match occupant.status() {
            SeatStatus::Held => (held + 1, away),
            SeatStatus::Away | SeatStatus::Empty => (held, away + 1),
        })
    }

    pub(in crate::room) fn is_vacant(&self) -> bool {
        self.places.iter().all(|place| *place == Place::Empty)
    }

    /// Returns whether each seat has a holder, held or away.
    pub(in crate::room) fn is_complete(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.taken().is_some())
    }

    pub(in crate::room) fn is_empty(&self, number: u16) -> bool {
        self.places.get(usize::from(number)) == Some(&Place::Empty)
    }

    /// Returns the public view of the seats.
    pub(in crate::room) fn views(&self, kind: &Kind) -> Vec<PlaceView> {
        (0_u16..)
            .zip(&self.places)
            .map(|(seat, place)| {
                let occupant = match place {
                    Place::Empty | Place::Claimed(_) => None,
                    Place::Taken(occupant)
                    | Place::Moving(occupant)
                    | Place::Releasing(occupant) => Some(occupant),
                };
                PlaceView {
                    seat,
                    team: kind.team(seat),
                    status: occupant.map_or(SeatStatus::Empty, Occupant::status),
                    user: occupant.map(|occupant| occupant.user.clone()),
                }
            })
            .collect()
    }

    fn of_user(&self, user: &UserId) -> Option<(u16, &Place)> {
        (0_u16..)
            .zip(&self.places)
            .find(|(_, place)| place.occupant().is_some_and(|who| who.user.id == *user))
    }

    pub(in crate::room) fn occupant_mut(
        &mut self,
        session: SessionId,
    ) -> Option<(u16, &mut Occupant)> {
        (0_u16..)
            .zip(&mut self.places)
            .filter_map(|(number, place)| Some((number, place.occupant_mut()?)))
            .find(|(_, occupant)| occupant.session == session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::rules::kind::Kinds;
    use crate::wire::UserView;

    const NOW: HubTime = HubTime(1_000_000);

    fn kind(seats: u16) -> Arc<Kind> {
        let mut config = crate::config::Config::default().kind["table"].clone();
        config.seats = seats;
        Arc::clone(
            Kinds::new(&[("test".to_owned(), config)].into())
                .get("test")
                .unwrap(),
        )
    }

    fn occupant(name: &str) -> Occupant {
        Occupant {
            session: SessionId::new(),
            user: UserView {
                id: UserId::parse(name).unwrap(),
                name: name.into(),
            },
            epoch: AttachSeq(1),
            hold_until: None,
            recorded: None,
            tokens: Generations::begin(NOW),
        }
    }

    fn claim(
        seating: &Seats,
        kind: &Kind,
        who: &Occupant,
        seat: Option<u16>,
    ) -> Result<Claim, Reason> {
        seating
            .claim(kind, who.session, &who.user.id, seat, None)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_seat_that_is_being_claimed_is_nobody_elses() {
        let (kind, mut seating) = (kind(2), Seats::new(2, &[]));
        let (ana, bo) = (occupant("ana"), occupant("bo"));

        assert_eq!(claim(&seating, &kind, &ana, Some(0)), Ok(Claim::Free(0)));
        seating.reserve(0, ana.clone());

        assert_eq!(claim(&seating, &kind, &bo, Some(0)), Err(Reason::SeatTaken));
        assert_eq!(claim(&seating, &kind, &bo, None), Ok(Claim::Free(1)));
        assert_eq!(claim(&seating, &kind, &ana, None), Ok(Claim::Pending(0)));
    }

    #[test]
    fn who_sits_is_told_so_and_gets_no_second_seat() {
        let (kind, mut seating) = (kind(2), Seats::new(2, &[]));
        let ana = occupant("ana");
        seating.put(1, ana.clone());

        assert_eq!(claim(&seating, &kind, &ana, None), Ok(Claim::Sits(1)));
        assert_eq!(claim(&seating, &kind, &ana, Some(1)), Ok(Claim::Sits(1)));
        assert_eq!(
            claim(&seating, &kind, &ana, Some(0)),
            Err(Reason::AlreadySeated)
        );
    }

    #[test]
    fn a_full_room_and_a_seat_that_does_not_exist_say_so() {
        let (kind, mut seating) = (kind(1), Seats::new(1, &[]));
        seating.put(0, occupant("ana"));
        let bo = occupant("bo");

        assert_eq!(claim(&seating, &kind, &bo, None), Err(Reason::RoomFull));
        assert_eq!(
            claim(&seating, &kind, &bo, Some(1)),
            Err(Reason::SeatNotFound)
        );
    }

    #[test]
    fn only_the_newest_attachment_turns_a_seat_away() {
        let mut seating = Seats::new(1, &[]);
        let ana = occupant("ana");
        seating.put(0, ana.clone());

        seating.back(ana.session, AttachSeq(5));

        assert_eq!(seating.away(ana.session, AttachSeq(1), NOW), None);
        assert_eq!(seating.away(ana.session, AttachSeq(5), NOW), Some(0));
        assert_eq!(seating.back(ana.session, AttachSeq(4)), None);
        assert_eq!(seating.back(ana.session, AttachSeq(6)), Some(0));
    }

    #[test]
    fn a_hold_that_is_over_ends_only_the_absence_it_was_for() {
        let mut seating = Seats::new(1, &[]);
        let ana = occupant("ana");
        seating.put(0, ana.clone());
        seating.away(ana.session, AttachSeq(1), NOW);
        seating.back(ana.session, AttachSeq(2));
        let later = HubTime(NOW.0 + 1);
        seating.away(ana.session, AttachSeq(2), later);

        assert_eq!(seating.expire(0, NOW, later), None);
        assert_eq!(seating.expire(0, later, NOW), None);
        assert_eq!(seating.expire(0, later, later), Some(ana.session));
        assert_eq!(seating.expire(0, later, later), None);
    }

    #[test]
    fn a_release_that_fails_leaves_the_seat_as_it_was() {
        let mut seating = Seats::new(1, &[]);
        let ana = occupant("ana");
        seating.put(0, ana.clone());

        assert_eq!(seating.release(ana.session), Some(0));
        assert_eq!(seating.seat_of(ana.session), None);
        seating.back(ana.session, AttachSeq(9));

        assert!(seating.keep(0));
        assert_eq!(seating.occupant(0).map(|who| who.epoch), Some(AttachSeq(9)));
        assert_eq!(seating.seat_of(ana.session), Some(0));
        assert!(!seating.keep(0));
    }

    #[test]
    fn a_holder_who_goes_while_the_seat_is_released_is_away_from_then_on_if_it_stays() {
        let mut seating = Seats::new(1, &[]);
        let ana = occupant("ana");
        seating.put(0, ana.clone());
        seating.release(ana.session);
        seating.away(ana.session, AttachSeq(1), NOW);
        assert_eq!(seating.record(0), None);

        seating.keep(0);

        let before = seating.record(0).unwrap();
        assert_eq!((before.recorded, before.hold_until), (None, Some(NOW)));
        assert_eq!(seating.occupant(0).unwrap().recorded, Some(NOW));
    }
}

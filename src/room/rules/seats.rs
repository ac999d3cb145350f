//! The rules of seats, with no actor, database or socket in sight.
//!
//! A seat goes from empty through claimed (being written) to taken, and through releasing (being
//! written) back to empty; and from one session of its user through moving to another. While a change is being written the seat is nobody else's, and a refusal
//! puts it back as it was.

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

/// What a claim leads to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) enum Claim {
    /// The session sits there already.
    Sits(u16),
    /// The session's claim for this seat is being written.
    Pending(u16),
    /// This seat is free for it.
    Free(u16),
}

/// What comes of a seat token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) enum Presented {
    Good,
    /// The seat is changing hands this moment: look again when that is known.
    Later,
    /// It is not known yet whose the seat is.
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
    /// Empty seats, as many as the kind has, or more if some were taken when it had more.
    pub(in crate::room) fn new(seats: u16, taken: &[StoredSeat]) -> Seats {
        let taken = taken.iter().map(|seat| usize::from(seat.number) + 1);
        let count = taken.fold(usize::from(seats), usize::max);
        Seats {
            places: vec![Place::Empty; count],
        }
    }

    /// Which seat a session would get.
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

    /// Keeps an empty seat for a claim that is being written.
    pub(in crate::room) fn reserve(&mut self, number: u16, occupant: Occupant) {
        debug_assert_eq!(self.places[usize::from(number)], Place::Empty);
        self.places[usize::from(number)] = Place::Claimed(occupant);
    }

    /// Puts somebody into a seat, as the database has it.
    pub(in crate::room) fn put(&mut self, number: u16, occupant: Occupant) {
        self.places[usize::from(number)] = Place::Taken(occupant);
    }

    /// The claim is committed.
    pub(in crate::room) fn confirm(&mut self, number: u16, name: Arc<str>) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        if let Place::Claimed(occupant) = place {
            let mut occupant = occupant.clone();
            occupant.user.name = name;
            *place = Place::Taken(occupant);
        }
        place.taken()
    }

    /// The claim was refused.
    pub(in crate::room) fn refuse(&mut self, number: u16) {
        let place = &mut self.places[usize::from(number)];
        if matches!(place, Place::Claimed(_)) {
            *place = Place::Empty;
        }
    }

    /// The release is committed. Gives who sat there.
    pub(in crate::room) fn released(&mut self, number: u16) -> Option<Occupant> {
        let place = &mut self.places[usize::from(number)];
        let Place::Releasing(occupant) = place else {
            return None;
        };
        let occupant = occupant.clone();
        *place = Place::Empty;
        Some(occupant)
    }

    /// The session has ended and given up its seat with it.
    pub(in crate::room) fn vacate(&mut self, session: SessionId) -> Option<(u16, Occupant)> {
        let (number, occupant) = self.occupant_mut(session)?;
        let occupant = occupant.clone();
        self.places[usize::from(number)] = Place::Empty;
        Some((number, occupant))
    }

    /// Keeps a seat that is given up until that is written. None if the session has none.
    pub(in crate::room) fn release(&mut self, session: SessionId) -> Option<u16> {
        let number = self.seat_of(session)?;
        let place = &mut self.places[usize::from(number)];
        *place = Place::Releasing(place.settled()?.clone());
        Some(number)
    }

    /// The same for a hold that is over, if the seat is still away with that very hold.
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

    /// The release could not be written: the seat stays its holder's. False if it was given up meanwhile.
    pub(in crate::room) fn keep(&mut self, number: u16) -> bool {
        let place = &mut self.places[usize::from(number)];
        let Place::Releasing(occupant) = place else {
            return false;
        };
        *place = Place::Taken(occupant.clone());
        true
    }

    /// Takes note that the hold of a seat is recorded as it is now. Returns its holder as it was before that.
    pub(in crate::room) fn record(&mut self, number: u16) -> Option<Occupant> {
        let place = self.places.get_mut(usize::from(number))?;
        place.taken()?;
        let occupant = place.occupant_mut()?;
        let before = occupant.clone();
        occupant.recorded = occupant.hold_until;
        Some(before)
    }

    /// The session has a connection. Returns the seat if it was away until now.
    pub(in crate::room) fn back(&mut self, session: SessionId, epoch: AttachSeq) -> Option<u16> {
        let (number, occupant) = self.occupant_mut(session)?;
        if epoch < occupant.epoch {
            return None;
        }
        occupant.epoch = epoch;
        occupant.hold_until.take().map(|_| number)
    }

    /// The session has lost the connection of that epoch. Returns the seat if it was held until now.
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

    /// Moves the end of a hold, never closer. Says whether it has moved: a seat that is held has none.
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

    /// What a seat token is worth that says this.
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

    /// Keeps a seat for a session of its user that is put into it, until that is written.
    pub(in crate::room) fn begin_move(&mut self, number: u16) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        *place = Place::Moving(place.settled()?.clone());
        place.taken()
    }

    /// The move is committed. Gives who sat there, and who does now.
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

    /// The move could not be written: the seat stays its holder's. None if it was given up meanwhile.
    pub(in crate::room) fn end_move(&mut self, number: u16) -> Option<&Occupant> {
        let place = &mut self.places[usize::from(number)];
        let Place::Moving(occupant) = place else {
            return None;
        };
        *place = Place::Taken(occupant.clone());
        place.taken()
    }

    /// Whether a seat is being taken over.
    pub(in crate::room) fn is_moved(&self, number: u16) -> bool {
        matches!(self.places.get(usize::from(number)), Some(Place::Moving(_)))
    }

    /// Takes the user and the generations that the database has for a seat. Says whether the latter are others.
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

    /// Takes the generations that the database has for a seat. Says whether they are others.
    pub(in crate::room) fn set_tokens(&mut self, number: u16, tokens: Generations) -> bool {
        let place = self.places.get_mut(usize::from(number));
        let Some(occupant) = place.and_then(Place::occupant_mut) else {
            return false;
        };
        std::mem::replace(&mut occupant.tokens, tokens) != tokens
    }

    /// A seat that is being taken over from a session, until that is written.
    pub(in crate::room) fn is_moving(&self, session: SessionId) -> bool {
        self.places
            .iter()
            .any(|place| matches!(place, Place::Moving(occupant) if occupant.session == session))
    }

    /// The seat in which a session sits; neither one that it claims nor one that it gives up.
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

    /// Whether the session has anything to do with a seat: it sits, claims one or gives one up.
    pub(in crate::room) fn is_known(&self, session: SessionId) -> bool {
        self.places
            .iter()
            .filter_map(Place::occupant)
            .any(|occupant| occupant.session == session)
    }

    /// A seat that a session gives up, until that is written.
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

    /// Who has anything to do with a seat: sits there, claims it or gives it up.
    pub(in crate::room) fn concerned(&self, number: u16) -> Option<&Occupant> {
        self.places.get(usize::from(number))?.occupant()
    }

    /// Whether a connection has been replaced by a newer one of its session.
    pub(in crate::room) fn is_outdated(&self, session: SessionId, epoch: AttachSeq) -> bool {
        self.places
            .iter()
            .filter_map(Place::occupant)
            .any(|occupant| occupant.session == session && occupant.epoch > epoch)
    }

    /// A seat is being claimed or given up, and that is not written yet.
    pub(in crate::room) fn is_settling(&self) -> bool {
        self.places
            .iter()
            .any(|place| !matches!(place, Place::Empty | Place::Taken(_)))
    }

    /// Seats held and seats away.
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

    /// Each seat has a holder, held or away.
    pub(in crate::room) fn is_complete(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.taken().is_some())
    }

    pub(in crate::room) fn is_empty(&self, number: u16) -> bool {
        self.places.get(usize::from(number)) == Some(&Place::Empty)
    }

    /// What everybody may see.
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

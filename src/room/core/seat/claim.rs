//! Claims of seats, and the handling of each change when it is settled.

use std::sync::Arc;
use std::time::Duration;

use crate::persistence::{ClaimSeat, Committed, NewSeat, Refused, SeatCommand, Write, WriteError};
use crate::room::core::stream::change::held;
use crate::room::core::{ClaimReply, Contradiction, Phase, Room};
use crate::room::message::{Change, ClaimRequest, Claimed};
use crate::room::rules::seats::{Claim, Occupant, Seats};
use crate::room::seat_event::SeatEvent;
use crate::token::Generations;
use crate::wire::{Reason, Refusal};

/// The number of requests that may wait for one claim to be written: retries of one player's own request.
const CLAIM_WAITERS_MAX: usize = 16;

impl Room {
    pub(in crate::room) fn claim(&mut self, request: ClaimRequest) {
        let choice = self.check_open().and_then(|()| {
            self.seating.claim(
                &self.identity.kind,
                request.session,
                &request.user.id,
                request.seat,
                request.team.as_deref(),
            )
        });
        match choice {
            Ok(Claim::Free(number)) => self.reserve(number, request),
            Ok(Claim::Sits(number)) => {
                let claimed = self.claimed(number);
                self.answer_claim(ClaimReply::new(request), claimed);
            }
            Ok(Claim::Pending(number)) => {
                let waiters = self.waiting.claims.entry(number).or_default();
                if waiters.len() < CLAIM_WAITERS_MAX {
                    waiters.push(ClaimReply::new(request));
                } else {
                    let detail = "too many retries of this claim are already pending";
                    let refusal = Refusal::new(Reason::RateLimited, detail);
                    self.answer_claim(ClaimReply::new(request), Err(refusal));
                }
            }
            Err(refusal) => self.answer_claim(ClaimReply::new(request), Err(refusal)),
        }
    }

    /// Reserves the seat and writes the claim.
    fn reserve(&mut self, number: u16, mut request: ClaimRequest) {
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let hold_until =
            (!request.is_attached).then(|| Occupant::hold_from(self.now(), profile.grace));
        let tokens = Generations::begin(self.now());
        let command = ClaimSeat {
            room: profile.id,
            user: request.user_write.clone(),
            session: request.session_write.clone(),
            seat: NewSeat {
                number,
                team: self.identity.kind.team(number),
                hold_until,
                tokens,
            },
            cost: self.identity.kind.config.cost,
        };
        let occupant = Occupant {
            session: request.session,
            user: request.user.clone(),
            epoch: request.epoch,
            hold_until,
            recorded: hold_until,
            tokens,
        };
        let name = Arc::clone(&occupant.user.name);
        self.seating.reserve(number, occupant);
        let mut once = None;
        let mut kept = None;
        if let Some(draft) = request.response.take() {
            let mut soon = self.seating.clone();
            soon.confirm(number, name);
            kept = self.claimed_in(&soon, number, true);
            once = kept.as_ref().map(|kept| draft.complete(kept));
        }
        let claim = ClaimReply::keeping(request, kept);
        self.waiting.claims.insert(number, vec![claim]);
        self.offer();
        let write = Write::once(SeatCommand::Claim(Box::new(command)), once);
        self.write_told(write, Change::Claim { seat: number });
    }

    /// Handles the outcome of a change. An error ends the actor: its state contradicts the database, from
    /// which it is then rebuilt.
    pub(in crate::room) fn settled(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
    ) -> Result<(), Contradiction> {
        match (change, result) {
            (Change::Publish, Ok(committed)) => self.batch_committed(committed),
            (Change::Publish, Err(WriteError::Refused(refused))) => self.batch_refused(&refused),
            (change, result) if self.stream.is_durable() && change.is_told() => {
                self.deed_settled(change, result)
            }
            (change, result) => self.change_settled(change, result, false),
        }
    }

    /// Handles the outcome of any change but a batch. `is_told` if its events are in the stream already.
    pub(in crate::room) fn change_settled(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
        is_told: bool,
    ) -> Result<(), Contradiction> {
        match (change, result) {
            (Change::Claim { seat }, Ok(committed)) => {
                self.claim_committed(seat, committed, is_told);
            }
            (Change::Claim { seat }, Err(WriteError::Refused(refused))) => {
                self.claim_refused(seat, &refused)?;
            }
            (Change::Take { seat, hold_until }, Ok(committed)) => {
                self.take_committed(seat, hold_until, committed, is_told)?;
            }
            (Change::Take { seat, .. }, Err(WriteError::Refused(refused))) => {
                self.take_refused(seat, &refused);
            }
            (Change::Release { seat, reason, .. }, Ok(_)) => {
                self.release_committed(seat, reason, is_told);
            }
            (Change::Release { seat, reason, .. }, Err(WriteError::Refused(refused))) => {
                self.release_refused(seat, reason, &refused);
            }
            (
                Change::Hold {
                    number,
                    seat,
                    longer,
                    ..
                },
                Ok(_),
            ) => {
                self.hold_is_answered(number, Ok(()));
                self.hold_committed(seat, longer.filter(|_| !is_told));
            }
            (
                Change::Hold {
                    number,
                    seat,
                    session,
                    ..
                },
                Err(WriteError::Refused(refused)),
            ) => {
                self.hold_refused(number, seat, session, &refused);
            }
            (
                Change::EndTokens {
                    seat,
                    session,
                    tokens,
                },
                Ok(_),
            ) => {
                self.tokens_ended(seat, session, Ok(tokens));
            }
            (Change::EndTokens { seat, session, .. }, Err(WriteError::Refused(refused))) => {
                self.tokens_ended(seat, session, Err(&refused));
            }
            (Change::RemoveHistory { up_to }, Ok(_)) => self.history_removed(up_to, Ok(())),
            (Change::RemoveHistory { up_to }, Err(WriteError::Refused(refused))) => {
                self.history_removed(up_to, Err(&refused));
            }
            (Change::Close, Ok(_)) => self.close_committed(is_told),
            (Change::Close, Err(WriteError::Refused(refused))) => {
                self.close_refused(&refused)?;
            }
            // A batch is settled elsewhere.
            (Change::Publish, Ok(_) | Err(WriteError::Refused(_))) => {}
            (_, Err(WriteError::Lost)) => {
                return Err(format!("{change:?}: the outcome is unknown").into());
            }
        }
        Ok(())
    }

    fn claim_committed(&mut self, number: u16, committed: Committed, is_told: bool) {
        let Committed::Player { name, .. } = committed else {
            return;
        };
        let Some(occupant) = self.seating.confirm(number, Arc::clone(&name)).cloned() else {
            return;
        };
        let Some(holding) = self.holding(number, &occupant) else {
            return;
        };
        self.life.is_solitary = false;
        let info = self.identity.kind.seat_info(number);
        self.members.describe(occupant.session, info);
        if !is_told {
            self.announce_held(number, &occupant);
        }
        if occupant.hold_until.is_some() || occupant.recorded.is_some() {
            self.record(number, Duration::ZERO);
        }
        let news = SeatEvent::Gained {
            seat: holding,
            epoch: occupant.epoch,
        };
        self.notify(occupant.session, news);
        for mut waiter in self.waiting.claims.remove(&number).unwrap_or_default() {
            let claimed = match waiter.kept(&name) {
                Some(kept) => Ok(kept),
                None => self.claimed(number),
            };
            self.answer_claim(waiter, claimed);
        }
    }

    /// Publishes that a seat has a new holder, and that the room is complete if it is.
    pub(in crate::room) fn announce_held(&mut self, number: u16, occupant: &Occupant) {
        let body = self.seat_body(number, occupant);
        for event in held(body, self.grace(), self.seating.is_complete()) {
            self.announce(&event);
        }
    }

    fn claim_refused(&mut self, number: u16, refused: &Refused) -> Result<(), Contradiction> {
        self.seating.refuse(number);
        for waiter in self.waiting.claims.remove(&number).unwrap_or_default() {
            self.answer_claim(waiter, Err(refusal(refused)));
        }
        if *refused == Refused::SeatTaken {
            return Err(format!("seat {number} is taken in the database, but empty here").into());
        }
        self.seats_freed();
        Ok(())
    }

    pub(in crate::room) fn check_open(&self) -> Result<(), Refusal> {
        match self.life.phase {
            Phase::Open if self.is_halted() => Err(Refusal::stopping()),
            Phase::Open => Ok(()),
            Phase::Closing | Phase::Closed => Err(Refusal::new(
                Reason::RoomClosed,
                "the room has closed because all its seats were empty",
            )),
            Phase::Retired => Err(Refusal::unavailable()),
        }
    }

    pub(in crate::room) fn claimed(&self, number: u16) -> Result<Claimed, Refusal> {
        let claimed = self.claimed_in(&self.seating, number, false);
        claimed.ok_or_else(Refusal::unavailable)
    }

    pub(in crate::room) fn claimed_in(
        &self,
        seating: &Seats,
        number: u16,
        is_kept: bool,
    ) -> Option<Claimed> {
        let occupant = seating.occupant(number)?;
        Some(Claimed {
            seat: self.holding(number, occupant)?,
            room: self.view_with(seating)?,
            at: self.now(),
            user: occupant.user.clone(),
            is_kept,
        })
    }
}

/// Translates a refusal of persistence into the one for the client.
pub fn refusal(refused: &Refused) -> Refusal {
    match refused {
        Refused::InvalidUser => Refusal::new(
            Reason::InvalidUserReference,
            "the user does not exist or is not active",
        ),
        Refused::InsufficientCredits { needed, has } => Refusal::new(
            Reason::InsufficientCredits,
            format!("the seat costs {needed} credits, the user has {has}"),
        ),
        Refused::TooManySeats { most } => {
            metrics::counter!("holdfast_limited_total", "limit" => "seats").increment(1);
            let detail =
                format!("a user holds at most {most} seats (session.seats_max); release one first");
            Refusal::new(Reason::TooManySeats, detail)
        }
        Refused::NotGuest => Refusal::new(
            Reason::PermissionDenied,
            "the session belongs to an account: only a guest's session can change its user",
        ),
        Refused::AlreadySeated => Refusal::new(
            Reason::AlreadySeated,
            "the logged-in user already holds a seat in one of the guest's rooms",
        ),
        Refused::SeatTaken => Refusal::new(Reason::SeatTaken, "the seat is taken"),
        Refused::Unavailable { retry_after } => {
            let mut refusal = Refusal::unavailable();
            refusal.retry_after = Some(*retry_after);
            refusal
        }
        Refused::SessionEnded => Refusal::new(Reason::SessionEnded, "the session has ended"),
        Refused::SeatChanged => Refusal::new(
            Reason::SeatNotFound,
            "the seat has changed hands in the meantime",
        ),
        Refused::KeyReused => Refusal::new(
            Reason::KeyReused,
            "the idempotency key was used for a different request",
        ),
        // A keyed request is answered with its stored response elsewhere.
        Refused::Repeated(_)
        | Refused::CodeTaken
        | Refused::RoomChanged
        | Refused::StreamChanged => Refusal::unavailable(),
        Refused::Internal => Refusal::internal(),
    }
}

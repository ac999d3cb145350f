//! Takeover: a redeemed seat token moves the seat from one session of its user to a new one.

use std::sync::Arc;

use tracing::{info, warn};

use crate::clock::HubTime;
use crate::id::SessionId;
use crate::persistence::{
    Committed, ConfirmToken, EndTokens, Refused, SeatCommand, UserWrite, Write,
};
use crate::room::core::seat::claim::refusal;
use crate::room::core::{Contradiction, Phase, Room};
use crate::room::message::{Change, TakeRequest};
use crate::room::rules::seats::{Occupant, Presented};
use crate::room::seat_event::{AttachSeq, SeatEvent};
use crate::token::{Generations, SeatTokenError};
use crate::wire::{Reason, Refusal, RoomEvent, UserView};

/// The number of tokens that may wait for one seat: a player's own devices and retries.
const TAKES_MAX: usize = 16;

impl Room {
    /// Redeems a seat token; its signed claims name the user and the seat.
    pub(in crate::room) fn take(&mut self, request: TakeRequest) {
        let is_ending = self.waiting.token_ends.contains_key(&request.claims.seat);
        match self.presented(&request) {
            // The verdict depends on the end of the seat's tokens, which is being written.
            Ok(Presented::Good | Presented::Reused) if is_ending => self.take_later(request),
            Ok(Presented::Good) => self.begin_take(request),
            Ok(Presented::Later) => self.take_later(request),
            Ok(Presented::Unsettled) => self.answer(request.reply, Err(Refusal::unavailable())),
            Ok(Presented::Reused) => self.reused(request),
            Ok(Presented::Bad(fault)) => self.answer(request.reply, Err(fault.refuse())),
            Err(refusal) => self.answer(request.reply, Err(refusal)),
        }
    }

    fn take_later(&mut self, request: TakeRequest) {
        let waiting = self.waiting.takes.entry(request.claims.seat).or_default();
        if waiting.len() < TAKES_MAX {
            waiting.push_back(request);
        } else {
            let detail = "too many takeovers of this seat are already pending";
            let refusal = Refusal::new(Reason::RateLimited, detail);
            self.answer(request.reply, Err(refusal));
        }
    }

    fn presented(&self, request: &TakeRequest) -> Result<Presented, Refusal> {
        let claims = &request.claims;
        if matches!(self.life.phase, Phase::Closing | Phase::Closed) {
            return Ok(Presented::Bad(SeatTokenError::Released));
        }
        self.check_open()?;
        let is_this_room = self
            .identity
            .profile
            .as_ref()
            .is_some_and(|profile| profile.id == claims.room);
        if !is_this_room || self.identity.kind.team(claims.seat) != claims.team {
            return Ok(Presented::Bad(SeatTokenError::Foreign));
        }
        Ok(self.seating.presented(claims))
    }

    /// Reserves the seat and writes the move.
    fn begin_take(&mut self, mut request: TakeRequest) {
        let Some(profile) = &self.identity.profile else {
            return;
        };
        let number = request.claims.seat;
        let (room, at_least) = (profile.id, Occupant::hold_from(self.now(), profile.grace));
        let Some(occupant) = self.seating.begin_move(number).cloned() else {
            return;
        };
        // A hold that the game has extended is not shortened.
        let hold_until = occupant
            .hold_until
            .map_or(at_least, |end| end.max(at_least));
        let command = ConfirmToken {
            room,
            seat: number,
            user: UserWrite::Known(occupant.user.id.clone()),
            from: occupant.session,
            session: request.session.clone(),
            hold_until,
            tokens: occupant.tokens.confirm(request.claims.generation),
        };
        let mut once = None;
        if let Some(draft) = request.response.take() {
            let mut soon = self.seating.clone();
            let name = Arc::clone(&occupant.user.name);
            soon.moved(number, |older| newcomer(&request, older, name, hold_until));
            request.kept = self.claimed_in(&soon, number, true);
            once = request.kept.as_ref().map(|kept| draft.complete(kept));
        }
        let takes = self.waiting.takes.entry(number).or_default();
        takes.push_front(request);
        let command = SeatCommand::TakeOver(Box::new(command));
        let change = Change::Take {
            seat: number,
            hold_until,
        };
        let write = Write::once(command, once);
        self.write_told(write, change);
    }

    /// Ends all tokens of a seat after one was used that is older than one used before: two parties have tokens, and
    /// the hub cannot know which is the player. The answer follows the commit. The holder keeps the seat.
    fn reused(&mut self, request: TakeRequest) {
        let (number, presented) = (request.claims.seat, request.claims.generation);
        let (Some(profile), Some(occupant)) =
            (&self.identity.profile, self.seating.occupant(number))
        else {
            return self.answer(request.reply, Err(SeatTokenError::Reused.refuse()));
        };
        warn!(
            room = %self.identity.channel,
            seat = number,
            user = %occupant.user.id,
            presented,
            "a seat token was used after a newer one: all tokens of the seat have ended"
        );
        let (room, session, tokens) = (profile.id, occupant.session, occupant.tokens.end());
        let command = SeatCommand::EndTokens(EndTokens {
            room,
            seat: number,
            session,
            tokens,
        });
        self.waiting.token_ends.insert(number, request.reply);
        let change = Change::EndTokens {
            seat: number,
            session,
            tokens,
        };
        self.write(command, change);
    }

    /// Handles the outcome of ending a seat's tokens.
    pub(in crate::room) fn tokens_ended(
        &mut self,
        number: u16,
        session: SessionId,
        result: Result<Generations, &Refused>,
    ) {
        if let Ok(tokens) = result
            && self
                .seating
                .concerned(number)
                .is_some_and(|who| who.session == session)
        {
            self.seating.set_tokens(number, tokens);
        }
        if let Some(reply) = self.waiting.token_ends.remove(&number) {
            let refusal = match result {
                // Stale: the seat has changed hands, and its tokens with it.
                Ok(_) | Err(Refused::SeatChanged) => SeatTokenError::Reused.refuse(),
                Err(refused) => refusal(refused),
            };
            self.answer(reply, Err(refusal));
        }
        // No move can have begun since: each takeover waits here.
        if !self.seating.is_moved(number) {
            for request in self.waiting.takes.remove(&number).unwrap_or_default() {
                self.take(request);
            }
        }
    }

    pub(in crate::room) fn take_committed(
        &mut self,
        number: u16,
        hold_until: HubTime,
        committed: Committed,
        is_told: bool,
    ) -> Result<(), Contradiction> {
        let mut waiting = self.waiting.takes.remove(&number).unwrap_or_default();
        let (Some(mut request), Committed::Player { name, .. }) = (waiting.pop_front(), committed)
        else {
            return Ok(());
        };
        let kept = request.kept.take().map(|mut kept| {
            kept.user.name = Arc::clone(&name);
            kept
        });
        let moved = self
            .seating
            .moved(number, |older| newcomer(&request, older, name, hold_until));
        let Some((older, newcomer)) = moved else {
            return Err(format!("seat {number} is held in the database, but empty here").into());
        };
        if newcomer.tokens != older.tokens {
            metrics::counter!("holdfast_seat_tokens_confirmed_total").increment(1);
        }
        info!(room = %self.identity.channel, seat = number, session = %newcomer.session, "seat taken over");
        self.members.remove_session(older.session);
        if !is_told && let (None, Some(profile)) = (older.hold_until, &self.identity.profile) {
            let note = self.seat_body(number, &newcomer).hold(profile.grace);
            self.announce(&RoomEvent::Away(note));
        }
        self.wake_at(number, hold_until);
        if let Some(room) = self.id() {
            self.notify(older.session, SeatEvent::TakenOver { room });
        }
        let claimed = kept.map_or_else(|| self.claimed(number), Ok);
        self.answer(request.reply, claimed);
        for request in waiting {
            self.take(request);
        }
        Ok(())
    }

    pub(in crate::room) fn take_refused(&mut self, number: u16, refused: &Refused) {
        let has_changed = *refused == Refused::SeatChanged;
        if has_changed && self.seating.is_moved(number) {
            // The session has ended, which the room does not know yet, or the reason is unknown: the row decides.
            return self.doubt(number);
        }
        let refusal = match has_changed {
            true => SeatTokenError::Released.refuse(),
            false => refusal(refused),
        };
        self.give_seat_back(number, &refusal);
    }

    /// Keeps a seat with its holder, if there still is one, after a takeover failed.
    pub(in crate::room) fn give_seat_back(&mut self, number: u16, refusal: &Refusal) {
        let mut waiting = self.waiting.takes.remove(&number).unwrap_or_default();
        let kept = self.seating.end_move(number).cloned();
        if let Some(request) = waiting.pop_front() {
            self.answer(request.reply, Err(refusal.clone()));
        }
        // Its hold may have ended in the meantime.
        if let Some(hold_until) = kept.and_then(|occupant| occupant.hold_until) {
            self.wake_at(number, hold_until);
        }
        for request in waiting {
            self.take(request);
        }
    }
}

/// Returns the holder after the move is committed, under the stored name.
fn newcomer(
    request: &TakeRequest,
    older: &Occupant,
    name: Arc<str>,
    hold_until: HubTime,
) -> Occupant {
    Occupant {
        session: request.session.id,
        user: UserView {
            id: older.user.id.clone(),
            name,
        },
        epoch: AttachSeq(0),
        hold_until: Some(hold_until),
        recorded: Some(hold_until),
        tokens: older.tokens.confirm(request.claims.generation),
    }
}

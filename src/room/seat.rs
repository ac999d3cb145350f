//! What happens to seats: claimed, released, away, back, and over.

use std::time::Duration;

use ractor::{ActorProcessingErr, RpcReplyPort};
use tracing::{debug, warn};

use super::message::{Change, ClaimRequest, Claimed, Wake};
use super::news::{News, ReleaseReason, SeatNote};
use super::notice::{Epoch, SeatNews};
use super::seating::{Claim, Occupant};
use super::state::{ClaimReply, Phase, Room};
use crate::clock::HubTime;
use crate::config::Permission;
use crate::id::SessionId;
use crate::mailbox::answer;
use crate::persistence::{
    ClaimSeat, Command, Committed, NewSeat, Refused, ReleaseSeat, SoftWrite, WriteError,
};
use crate::wire::{Reason, Refusal, SeatInfo};

/// Requests that may wait for one claim to be written: repeats of one player's own request.
const CLAIM_WAITERS_MAX: usize = 16;

/// The wait before a release that could not be written is written again.
const RELEASE_RETRY: Duration = Duration::from_secs(1);

impl Room {
    pub(super) fn claim(&mut self, request: ClaimRequest) {
        let choice = self.check_open().and_then(|()| {
            self.seating.claim(
                &self.kind,
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
                ClaimReply::new(request).settle(claimed);
            }
            Ok(Claim::Pending(number)) => {
                let waiters = self.claims.entry(number).or_default();
                if waiters.len() < CLAIM_WAITERS_MAX {
                    waiters.push(ClaimReply::new(request));
                } else {
                    let detail = "this claim is being made already, many times over";
                    let refusal = Refusal::new(Reason::RateLimited, detail);
                    ClaimReply::new(request).settle(Err(refusal));
                }
            }
            Err(refusal) => ClaimReply::new(request).settle(Err(refusal)),
        }
    }

    /// Keeps the seat and writes the claim.
    fn reserve(&mut self, number: u16, request: ClaimRequest) {
        let Some(profile) = &self.profile else {
            return;
        };
        let hold_until =
            (!request.is_attached).then(|| Occupant::hold_from(self.now(), profile.grace));
        let command = ClaimSeat {
            room: profile.id,
            user: request.user_write.clone(),
            session: request.session_write.clone(),
            seat: NewSeat {
                number,
                team: self.kind.team(number),
                hold_until,
            },
            cost: self.kind.config.cost,
        };
        let occupant = Occupant {
            session: request.session,
            user: request.user.clone(),
            epoch: request.epoch,
            hold_until,
        };
        self.seating.reserve(number, occupant);
        self.claims.insert(number, vec![ClaimReply::new(request)]);
        self.offer();
        let command = Command::ClaimSeat(Box::new(command));
        self.write(command, Change::Claim { seat: number });
    }

    /// Persistence knows what became of a change. An error ends the actor: what the database holds
    /// is not what the room believes, so it is rebuilt from there.
    pub(super) async fn settled(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
    ) -> Result<(), ActorProcessingErr> {
        match (change, result) {
            (Change::Claim { seat }, Ok(committed)) => self.claim_committed(seat, committed).await,
            (Change::Claim { seat }, Err(WriteError::Refused(refused))) => {
                self.claim_refused(seat, &refused).await?;
            }
            (Change::Release { seat, reason }, Ok(_)) => self.release_committed(seat, reason).await,
            (Change::Release { seat, reason }, Err(WriteError::Refused(refused))) => {
                self.release_refused(seat, reason, &refused).await?;
            }
            (Change::Close, Ok(_)) => self.close_committed(),
            (Change::Close, Err(WriteError::Refused(refused))) => {
                self.close_refused(&refused).await?;
            }
            (_, Err(WriteError::Lost)) => {
                return Err(format!("{change:?}: the outcome is unknown").into());
            }
        }
        Ok(())
    }

    async fn claim_committed(&mut self, number: u16, committed: Committed) {
        let name = match committed {
            Committed::Player { name, .. } => name,
            Committed::Done => return,
        };
        let Some(occupant) = self.seating.confirm(number, name).cloned() else {
            return;
        };
        let Some(holding) = self.holding(number, &occupant) else {
            return;
        };
        let info = SeatInfo {
            seat: number,
            team: self.kind.team(number),
        };
        self.members.describe(occupant.session, Some(&info));
        self.announce_held(number, &occupant);
        if let Some(hold_until) = occupant.hold_until {
            self.wake_at(number, hold_until).await;
        }
        let news = SeatNews::Gained {
            seat: holding,
            epoch: occupant.epoch,
        };
        self.notify(occupant.session, news);
        for waiter in self.claims.remove(&number).unwrap_or_default() {
            waiter.settle(self.claimed(number));
        }
    }

    /// Everybody hears of a new holder, and that the room is complete if it is.
    pub(super) fn announce_held(&mut self, number: u16, occupant: &Occupant) {
        let grace = self
            .profile
            .as_ref()
            .map_or(Duration::ZERO, |profile| profile.grace);
        let note = SeatNote::new(number, self.kind.team(number), occupant).hold(grace);
        self.announce(&News::Held(note));
        if self.seating.is_complete() {
            self.announce(&News::Ready);
        }
    }

    async fn claim_refused(
        &mut self,
        number: u16,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        self.seating.refuse(number);
        for waiter in self.claims.remove(&number).unwrap_or_default() {
            waiter.settle(Err(refusal(refused)));
        }
        if *refused == Refused::SeatTaken {
            return Err(format!("seat {number} is taken in the database, but empty here").into());
        }
        self.seats_freed().await;
        Ok(())
    }

    /// An explicit leave.
    pub(super) fn release(&mut self, session: SessionId, reply: RpcReplyPort<Result<(), Refusal>>) {
        if let Some(number) = self.seating.release(session) {
            self.releases.insert(number, vec![reply]);
            self.write_release(number, session, None, ReleaseReason::Left);
        } else if self.seating.is_releasing(session) {
            let detail = "the seat is being released already";
            answer(reply, Err(Refusal::new(Reason::Unavailable, detail)));
        } else {
            let detail = "the session holds no seat in this room";
            answer(reply, Err(Refusal::new(Reason::NotSeated, detail)));
        }
    }

    /// A hold is over, unless its holder came back in time.
    pub(super) fn hold_over(&mut self, number: u16, hold_until: HubTime) {
        if let Some(session) = self.seating.expire(number, hold_until) {
            self.write_release(number, session, Some(hold_until), ReleaseReason::HoldOver);
        }
    }

    fn write_release(
        &self,
        seat: u16,
        session: SessionId,
        hold_until: Option<HubTime>,
        reason: ReleaseReason,
    ) {
        let Some(profile) = &self.profile else {
            return;
        };
        let command = Command::ReleaseSeat(ReleaseSeat {
            room: profile.id,
            seat,
            session,
            hold_until,
        });
        self.write(command, Change::Release { seat, reason });
    }

    async fn release_committed(&mut self, number: u16, reason: ReleaseReason) {
        if let Some(occupant) = self.seating.released(number) {
            self.released(number, &occupant, reason).await;
            if let Some(profile) = &self.profile {
                let room = profile.id;
                self.notify(occupant.session, SeatNews::Released { room });
            }
        }
        for reply in self.releases.remove(&number).unwrap_or_default() {
            answer(reply, Ok(()));
        }
    }

    async fn release_refused(
        &mut self,
        number: u16,
        reason: ReleaseReason,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        match (refused, reason) {
            // Somebody else ended it before; the player wanted nothing else.
            (Refused::Stale, ReleaseReason::Left | ReleaseReason::SessionEnded) => {
                self.release_committed(number, reason).await;
                return Ok(());
            }
            (Refused::Stale, ReleaseReason::HoldOver) => {
                return Err(format!("the hold of seat {number} is another in the database").into());
            }
            (
                Refused::InvalidUser
                | Refused::InsufficientCredits { .. }
                | Refused::CodeTaken
                | Refused::SeatTaken
                | Refused::Unavailable { .. }
                | Refused::Internal,
                _,
            ) => {}
        }
        for reply in self.releases.remove(&number).unwrap_or_default() {
            answer(reply, Err(refusal(refused)));
        }
        let Some(occupant) = self.seating.keep(number).cloned() else {
            return Ok(());
        };
        match (occupant.hold_until, reason) {
            (Some(hold_until), ReleaseReason::HoldOver) => {
                let seat = number;
                self.wake(RELEASE_RETRY, Wake::Hold { seat, hold_until })
                    .await;
            }
            // It came back while the release was being written.
            (None, ReleaseReason::HoldOver) => self.came_back(number, &occupant),
            (_, ReleaseReason::Left | ReleaseReason::SessionEnded) => {}
        }
        Ok(())
    }

    /// The session has a connection.
    pub(super) fn back(&mut self, session: SessionId, epoch: Epoch) {
        self.members.remove_older(session, epoch);
        let was_away = self.seating.back(session, epoch);
        if self.seating.is_releasing(session) {
            // What becomes of the seat is told when it is known.
            return;
        }
        let seat = self
            .seating
            .seat_of(session)
            .and_then(|number| Some((number, self.seating.occupant(number)?.clone())));
        match (was_away, seat) {
            (Some(_), Some((number, occupant))) => self.came_back(number, &occupant),
            (_, seat) => self.confirm(
                session,
                epoch,
                seat.as_ref().map(|(number, who)| (*number, who)),
            ),
        }
    }

    fn came_back(&mut self, number: u16, occupant: &Occupant) {
        let note = SeatNote::new(number, self.kind.team(number), occupant);
        self.announce(&News::Back(note));
        if let Some(profile) = &self.profile {
            self.context.persistence.mark(SoftWrite::SeatBack {
                room: profile.id,
                seat: number,
                session: occupant.session,
                at: self.now(),
            });
        }
        self.confirm(occupant.session, occupant.epoch, Some((number, occupant)));
    }

    fn confirm(&self, session: SessionId, epoch: Epoch, seat: Option<(u16, &Occupant)>) {
        let Some(profile) = &self.profile else {
            return;
        };
        let news = SeatNews::Confirmed {
            room: profile.id,
            epoch,
            seat: seat.and_then(|(number, occupant)| self.holding(number, occupant)),
        };
        self.notify(session, news);
    }

    /// The session lost the connection of that epoch.
    pub(super) async fn away(&mut self, session: SessionId, epoch: Epoch) {
        let Some(profile) = &self.profile else {
            return;
        };
        let (now, grace, room) = (self.now(), profile.grace, profile.id);
        let hold_until = Occupant::hold_from(now, grace);
        if self.phase == Phase::Frozen {
            return;
        }
        let Some(number) = self.seating.away(session, epoch, hold_until) else {
            return;
        };
        // None while its release is being written.
        let Some(occupant) = self.seating.occupant(number).cloned() else {
            return;
        };
        let note = SeatNote::new(number, self.kind.team(number), &occupant).hold(grace);
        self.announce(&News::Away(note));
        self.context.persistence.mark(SoftWrite::SeatAway {
            room,
            seat: number,
            session,
            since: now,
            hold_until,
        });
        self.wake_at(number, hold_until).await;
    }

    /// The session has ended, durably, and its seats with it.
    pub(super) async fn vacated(&mut self, session: SessionId) {
        if let Some((number, occupant)) = self.seating.vacate(session) {
            self.released(number, &occupant, ReleaseReason::SessionEnded)
                .await;
        }
    }

    /// A seat is empty: everybody hears it, and its holder loses what only holders may do.
    async fn released(&mut self, number: u16, occupant: &Occupant, reason: ReleaseReason) {
        debug!(room = %self.channel, seat = number, ?reason, "seat released");
        metrics::counter!("holdfast_seats_released_total", "reason" => reason.label()).increment(1);
        let note = SeatNote::new(number, self.kind.team(number), occupant).reason(reason);
        self.announce(&News::Released(note));
        self.members.describe(occupant.session, None);
        let config = &self.kind.config;
        if config.subscribe == Permission::Seated && self.members.spectators() > config.spectators {
            self.members.dismiss_session(occupant.session);
        }
        self.seats_freed().await;
    }

    /// Takes note that seats are free, and of the moment at which all are.
    pub(super) async fn seats_freed(&mut self) {
        self.offer();
        if self.profile.is_some() && self.seating.is_vacant() && self.phase == Phase::Open {
            self.vacancy += 1;
            let vacancy = self.vacancy;
            self.wake(self.kind.config.empty_ttl, Wake::Empty { vacancy })
                .await;
        }
    }

    /// The room was empty for so long that it closes, unless somebody came meanwhile.
    pub(super) fn close_if_vacant(&mut self, vacancy: u64) {
        let Some(profile) = &self.profile else {
            return;
        };
        if self.phase == Phase::Open && self.vacancy == vacancy && self.seating.is_vacant() {
            let command = Command::CloseRoom(profile.id);
            self.phase = Phase::Closing;
            self.offer();
            self.write(command, Change::Close);
        }
    }

    fn close_committed(&mut self) {
        self.phase = Phase::Closed;
        self.announce(&News::Closed { reason: "empty" });
        self.members.dismiss_all();
        let key = self.key.clone();
        self.tell_shard(crate::supervisor::ShardMessage::Goes { key });
    }

    async fn close_refused(&mut self, refused: &Refused) -> Result<(), ActorProcessingErr> {
        if *refused == Refused::Stale {
            return Err("the database has seats in a room that is empty here".into());
        }
        warn!(room = %self.channel, %refused, "room could not be closed, trying again later");
        self.phase = Phase::Open;
        self.seats_freed().await;
        Ok(())
    }

    fn check_open(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Closing | Phase::Closed => Err(Refusal::new(
                Reason::RoomClosed,
                "the room has closed because all its seats were empty",
            )),
            Phase::Retired | Phase::Frozen => Err(Refusal::unavailable()),
        }
    }

    fn claimed(&self, number: u16) -> Result<Claimed, Refusal> {
        let occupant = self.seating.occupant(number);
        let claimed = occupant.and_then(|occupant| {
            Some(Claimed {
                seat: self.holding(number, occupant)?,
                room: self.view()?,
                user: occupant.user.clone(),
            })
        });
        claimed.ok_or_else(Refusal::unavailable)
    }

    pub(super) async fn wake_at(&self, seat: u16, hold_until: HubTime) {
        let delay = hold_until.since(self.now());
        self.wake(delay, Wake::Hold { seat, hold_until }).await;
    }
}

/// What the asker is told when persistence refuses.
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
        Refused::SeatTaken => Refusal::new(Reason::SeatTaken, "the seat is taken"),
        Refused::Unavailable { retry_after } => {
            let mut refusal = Refusal::unavailable();
            refusal.retry_after = Some(*retry_after);
            refusal
        }
        Refused::CodeTaken | Refused::Stale | Refused::Internal => Refusal::unavailable(),
    }
}

impl ReleaseReason {
    fn label(self) -> &'static str {
        match self {
            ReleaseReason::Left => "left",
            ReleaseReason::HoldOver => "hold_over",
            ReleaseReason::SessionEnded => "session_ended",
        }
    }
}

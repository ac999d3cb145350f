//! What players may do: the same for the socket and for HTTP.
//!
//! Each action that changes something must run in a task of its own: a client that hangs up in the
//! middle must leave nothing without an owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::debug;

use super::brood::Sessions;
use super::fresh::Fresh;
use super::handle::SessionHandle;
use super::message::{Attached, ClaimTicket, Report};
use crate::clock::HubTime;
use crate::delivery::Outbound;
use crate::id::{RoomCode, SessionToken, UserId};
use crate::mailbox::Unanswered;
use crate::persistence::{
    Command, Committed, OpenSession, Persistence, Refused, SessionWrite, UserWrite, WriteError,
};
use crate::room::{Claimant, Epoch, RoomKey, Rooms, refusal};
use crate::supervisor::LoadError;
use crate::wire::{Frame, JoinRequest, Reason, Refusal, RoomView, SeatView, SessionView, UserView};

/// What users may do. A cheap clone.
#[derive(Clone, Debug)]
pub struct Actions {
    pub(super) sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) persistence: Persistence,
    pub(super) matchmaker: crate::matchmaking::Matchmaker,
}

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Caller {
    Session(SessionHandle),
    Guest {
        name: Arc<str>,
    },
    /// The game's own user.
    Account {
        id: UserId,
        name: Option<Arc<str>>,
    },
}

/// The answer to whoever entered a room.
#[derive(Clone, Debug)]
pub struct Entered {
    pub room: RoomView,
    pub seat: Option<SeatView>,
    pub session: SessionView,
    pub user: UserView,
}

/// A session with its user and its seats.
#[derive(Clone, Debug)]
pub struct SessionReport {
    pub session: SessionView,
    pub user: UserView,
    pub seats: Vec<SeatView>,
}

impl Actions {
    pub fn new(
        sessions: Sessions,
        rooms: Rooms,
        persistence: Persistence,
        matchmaker: crate::matchmaking::Matchmaker,
    ) -> Actions {
        Actions {
            sessions,
            rooms,
            persistence,
            matchmaker,
        }
    }

    /// The kinds and rooms of the hub.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Whose token this is. A look-up that cannot be made says nothing about the token.
    ///
    /// # Errors
    /// TOKEN_INVALID, SESSION_ENDED, UNAVAILABLE.
    pub async fn identify(&self, token: &SessionToken) -> Result<SessionHandle, Refusal> {
        let hash = token.hash();
        if let Some(session) = self.sessions.live_by_token(hash) {
            return Ok(session);
        }
        let stored = self.persistence.session_by_token(hash, token.hint()).await;
        let invalid = "no session has this token";
        let stored = stored
            .map_err(|_| Refusal::unavailable())?
            .ok_or_else(|| Refusal::new(Reason::TokenInvalid, invalid))?;
        if stored.is_ended {
            let detail = "the session has ended";
            return Err(Refusal::new(Reason::SessionEnded, detail));
        }
        if stored.expires_at < self.now() && stored.seats.is_empty() {
            return Err(Refusal::new(Reason::TokenInvalid, invalid));
        }
        self.sessions.start(stored.into()).await.map_err(unanswered)
    }

    /// Opens a session, or reports the one that asks.
    pub async fn open_session(&self, caller: Caller) -> Result<SessionReport, Refusal> {
        let fresh = match self.fresh(caller) {
            Ok(fresh) => fresh,
            Err(session) => return self.session(&session).await,
        };
        let user = self.write_session(&fresh).await?;
        Ok(SessionReport {
            session: fresh.view(),
            user,
            seats: Vec::new(),
        })
    }

    /// Takes a seat in a room, or only looks whether one may listen to it.
    pub async fn join_room(
        &self,
        caller: Caller,
        code: RoomCode,
        request: JoinRequest,
    ) -> Result<Entered, Refusal> {
        self.check_open()?;
        if request.spectate {
            return self.spectate(caller, code).await;
        }
        match self.fresh(self.seated_here(caller, code).await) {
            Ok(fresh) => self.join_fresh(fresh, code, request).await,
            Err(session) => {
                let (seat, room) = self.claim(&session, code, request).await?;
                self.entered(&session, room, Some(seat)).await
            }
        }
    }

    /// Claims a seat for a session that exists.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, ROOM_CLOSED, ROOM_FULL, SEAT_TAKEN, SEAT_NOT_FOUND, ALREADY_SEATED,
    /// INVALID_USER_REFERENCE, INSUFFICIENT_CREDITS, UNAVAILABLE.
    pub async fn claim(
        &self,
        session: &SessionHandle,
        code: RoomCode,
        request: JoinRequest,
    ) -> Result<(SeatView, RoomView), Refusal> {
        self.check_open()?;
        let room = self
            .rooms
            .find(&RoomKey::Code(code))
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)?;
        let ticket = self.ticket(session).await?;
        let claimant = Claimant {
            session: session.id(),
            user: session.user().clone(),
            user_write: UserWrite::Known(session.user().id.clone()),
            session_write: SessionWrite::Known(session.id()),
            epoch: ticket.epoch,
            is_attached: ticket.is_attached,
            notice: Some(ticket.notice),
        };
        let claimed = room
            .claim(claimant, request.seat, request.team)
            .await
            .map_err(|_: Unanswered| Refusal::unavailable())??;
        Ok((claimed.seat.view(self.now()), claimed.room))
    }

    /// Gives a seat up.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, NOT_SEATED, UNAVAILABLE.
    pub async fn release(&self, session: &SessionHandle, code: RoomCode) -> Result<(), Refusal> {
        let id = session.id();
        let tries = AtomicUsize::new(0);
        self.rooms
            .ask(&RoomKey::Code(code), |room| {
                let is_repeated = tries.fetch_add(1, Ordering::Relaxed) > 0;
                async move {
                    let released = room.release(id).await?;
                    // The room failed at the first try, and had released the seat by then.
                    let is_done = |refusal: &Refusal| refusal.reason == Reason::NotSeated;
                    Ok(match released {
                        Err(refusal) if is_repeated && is_done(&refusal) => Ok(()),
                        released => released,
                    })
                }
            })
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)?
    }

    /// What everybody may see of a room.
    pub async fn room(&self, code: RoomCode) -> Result<RoomView, Refusal> {
        self.rooms
            .ask(
                &RoomKey::Code(code),
                |room| async move { room.view().await },
            )
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)
    }

    pub async fn session(&self, session: &SessionHandle) -> Result<SessionReport, Refusal> {
        let report = self.report(session).await?;
        Ok(SessionReport {
            session: SessionView {
                id: session.id(),
                token: None,
                expires_at: report.expires_at,
            },
            user: session.user().clone(),
            seats: report.seats,
        })
    }

    /// Ends a session and gives up its seats.
    pub async fn end_session(&self, session: &SessionHandle) -> Result<(), Refusal> {
        self.end_with(session, None).await
    }

    /// The same, with a last frame for the connection that is attached.
    pub async fn end_with(
        &self,
        session: &SessionHandle,
        last_words: Option<Frame>,
    ) -> Result<(), Refusal> {
        let last_words = &last_words;
        self.sessions
            .ask(session, |session| async move {
                session.end(last_words.clone()).await
            })
            .await
            .map_err(unanswered)?
    }

    /// Attaches a connection to a session; one that was attached before is cut off.
    pub async fn attach(
        &self,
        session: &SessionHandle,
        outbound: &Outbound,
    ) -> Result<Attached, Refusal> {
        self.sessions
            .ask(session, |session| async move {
                session.attach(outbound.clone()).await
            })
            .await
            .map_err(unanswered)?
    }

    /// Opens a session for somebody who is about to attach to it.
    pub async fn open_live_session(
        &self,
        caller: Caller,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        let fresh = match self.fresh(caller) {
            Ok(fresh) => fresh,
            Err(session) => return Ok((session, None)),
        };
        let user = self.write_session(&fresh).await?;
        let seed = fresh.seed(user, Vec::new());
        let session = self.sessions.start(seed).await.map_err(unanswered)?;
        Ok((session, Some(fresh.token)))
    }

    /// While the hub stops, nothing new is begun.
    pub(super) fn check_open(&self) -> Result<(), Refusal> {
        match self.sessions.context().is_stopping() {
            true => Err(Refusal::stopping()),
            false => Ok(()),
        }
    }

    async fn write_session(&self, fresh: &Fresh) -> Result<UserView, Refusal> {
        self.check_open()?;
        let command = Command::OpenSession(OpenSession {
            user: fresh.user_write.clone(),
            session: fresh.row(),
        });
        self.committed_user(command).await
    }

    async fn spectate(&self, caller: Caller, code: RoomCode) -> Result<Entered, Refusal> {
        let room = self.room(code).await?;
        let may_listen = self.rooms.kinds().get(&room.kind).is_some_and(|kind| {
            kind.config.spectators > 0 || kind.config.subscribe == crate::config::Permission::Anyone
        });
        if !may_listen {
            let detail = format!("kind {} admits no spectators", room.kind);
            return Err(Refusal::new(Reason::PermissionDenied, detail));
        }
        let report = self.open_session(caller).await?;
        Ok(Entered {
            room,
            seat: None,
            session: report.session,
            user: report.user,
        })
    }

    /// A new player joins: user, session and seat in one commit.
    async fn join_fresh(
        &self,
        fresh: Fresh,
        code: RoomCode,
        request: JoinRequest,
    ) -> Result<Entered, Refusal> {
        let room = self
            .rooms
            .find(&RoomKey::Code(code))
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)?;
        let claimant = Claimant {
            session: fresh.id,
            user: fresh.user.clone(),
            user_write: fresh.user_write.clone(),
            session_write: SessionWrite::New(fresh.row()),
            epoch: Epoch(0),
            is_attached: false,
            notice: None,
        };
        let claimed = room
            .claim(claimant, request.seat, request.team)
            .await
            .map_err(|_: Unanswered| Refusal::unavailable())??;
        let seat = claimed.seat.view(self.now());
        let seed = fresh.seed(claimed.user.clone(), vec![claimed.seat]);
        self.sessions.start(seed).await.map_err(unanswered)?;
        Ok(Entered {
            room: claimed.room,
            seat: Some(seat),
            session: fresh.view(),
            user: claimed.user,
        })
    }

    /// An account that sits in the room already, in a session that is live, is that session.
    async fn seated_here(&self, caller: Caller, code: RoomCode) -> Caller {
        let Caller::Account { id, .. } = &caller else {
            return caller;
        };
        let Some(session) = self.sessions.live_by_user(id) else {
            return caller;
        };
        match self.report(&session).await {
            Ok(report) if report.seats.iter().any(|seat| seat.room == code) => {
                Caller::Session(session)
            }
            Ok(_) | Err(_) => caller,
        }
    }

    pub(super) async fn entered(
        &self,
        session: &SessionHandle,
        room: RoomView,
        seat: Option<SeatView>,
    ) -> Result<Entered, Refusal> {
        let report = self.session(session).await?;
        Ok(Entered {
            room,
            seat,
            session: report.session,
            user: report.user,
        })
    }

    pub(super) async fn ticket(&self, session: &SessionHandle) -> Result<ClaimTicket, Refusal> {
        self.sessions
            .ask(
                session,
                |session| async move { session.begin_claim().await },
            )
            .await
            .map_err(unanswered)?
    }

    async fn report(&self, session: &SessionHandle) -> Result<Report, Refusal> {
        self.sessions
            .ask(session, |session| async move { session.report().await })
            .await
            .map_err(unanswered)
    }

    /// Writes a command that answers with a user.
    pub(super) async fn committed_user(&self, command: Command) -> Result<UserView, Refusal> {
        match self.persistence.write(command).await {
            Ok(Committed::Player { user, name }) => Ok(UserView { id: user, name }),
            Ok(Committed::Done | Committed::Published { .. }) | Err(WriteError::Lost) => {
                Err(Refusal::unavailable())
            }
            Err(WriteError::Refused(refused)) => {
                debug!(%refused, "not committed");
                Err(refusal(&refused))
            }
        }
    }

    pub fn now(&self) -> HubTime {
        self.sessions.context().clock.now()
    }
}

pub(super) fn room_not_found() -> Refusal {
    Refusal::new(Reason::RoomNotFound, "there is no room with this code")
}

/// An actor did not answer, or its row could not be read: nothing is known, and asking again is safe.
pub(super) fn unanswered(_: LoadError) -> Refusal {
    Refusal::unavailable()
}

/// Whether another code may be tried.
pub(super) fn is_code_taken(error: &WriteError) -> bool {
    matches!(error, WriteError::Refused(Refused::CodeTaken))
}

//! The actions of players, shared by the socket and HTTP.
//!
//! Each action that changes state must run in a task of its own: a client that disconnects midway must leave nothing
//! without an owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::idempotency::{IdempotentRequest, SESSION_OPEN};
use super::player_limits::{Origin, PlayerLimits};
use crate::clock::{HubTime, WallTime};
use crate::delivery::Outbound;
use crate::id::{ApiKeyHash, CommandKey, RoomCode, SessionId, SessionToken, UserId};
use crate::persistence::{Persistence, Refused, Retries, WriteError};
use crate::room::{RoomKey, Rooms, load_refusal};
use crate::session::{Attached, ClaimTicket, ConnectOrder, Report, SessionHandle, Sessions};
use crate::supervisor::LoadError;
use crate::wire::{Frame, Reason, Refusal, RoomView, SessionReport, SessionView};

/// The actions of users. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Actions {
    pub(super) sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) persistence: Persistence,
    pub(super) matchmaker: crate::matchmaking::Matchmaker,
    pub(super) limits: Arc<PlayerLimits>,
    pub(super) origin: Origin,
}

/// The party that makes a request.
#[derive(Clone, Debug)]
pub enum Caller {
    Session(SessionHandle),
    /// A user with a login of the game, in the session that holds a seat or is connected.
    Player(SessionHandle),
    Guest {
        name: Arc<str>,
    },
    /// A user of the game, whose session is still to be found or opened.
    Account {
        id: UserId,
        name: Option<Arc<str>>,
        /// The API key of the game's server, if it acts for the user. None: the user has logged in.
        api_key: Option<ApiKeyHash>,
        /// The end of the user's access by the login or the game's server. None: without end.
        until: Option<HubTime>,
    },
}

/// The result of looking up a session token.
pub(super) enum Found {
    Session(SessionHandle),
    Ended(SessionId),
}

impl Actions {
    pub fn new(
        sessions: Sessions,
        rooms: Rooms,
        persistence: Persistence,
        matchmaker: crate::matchmaking::Matchmaker,
        limits: Arc<PlayerLimits>,
    ) -> Actions {
        Actions {
            sessions,
            rooms,
            persistence,
            matchmaker,
            limits,
            origin: Origin::default(),
        }
    }

    /// Returns the rooms of the hub, with their kinds.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Returns true if the caller has no session to return to, as far as is known without asking any actor.
    pub fn is_new(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Session(_) | Caller::Player(_) => false,
            Caller::Guest { .. } => true,
            Caller::Account { id, .. } => {
                let is_live = self.sessions.live_of_user(id).next().is_some();
                !is_live && !self.sessions.is_user_dormant(id)
            }
        }
    }

    /// Returns the session with a token. A lookup that fails is UNAVAILABLE and gives no verdict on the token.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED, SESSION_ENDED, INVALID_USER_REFERENCE, UNAVAILABLE.
    pub async fn identify(
        &self,
        token: &SessionToken,
        retries: Retries<'_>,
    ) -> Result<SessionHandle, Refusal> {
        match self.find(token, retries).await? {
            Found::Session(session) => {
                self.check_login(&session)?;
                self.check_active(&session.user().id).await?;
                Ok(session)
            }
            Found::Ended(_) => Err(session_ended()),
        }
    }

    pub(super) async fn find(
        &self,
        token: &SessionToken,
        retries: Retries<'_>,
    ) -> Result<Found, Refusal> {
        let hash = token.hash();
        if let Some(session) = self.sessions.live_by_token(hash) {
            return Ok(Found::Session(session));
        }
        if let Some(session) = self.sessions.wake_token(hash).await.map_err(unanswered)? {
            return Ok(Found::Session(session));
        }
        let found = self
            .persistence
            .session_by_token_while(hash, token.hint(), retries);
        let stored = found.await;
        let invalid = "no session has this token";
        let stored = stored
            .map_err(unanswered)?
            .ok_or_else(|| Refusal::new(Reason::TokenInvalid, invalid))?;
        if stored.is_ended {
            return Ok(Found::Ended(stored.id));
        }
        if stored.expires_at < self.now() && stored.seats.is_empty() {
            return Err(Refusal::new(Reason::TokenInvalid, invalid));
        }
        // Its shard reads the row again: the session may have ended or changed its user since.
        let session = self.sessions.resolve(stored.id).await.map_err(unanswered)?;
        Ok(match session {
            Some(session) if session.user().id == stored.user => Found::Session(session),
            Some(_) => return Err(Refusal::new(Reason::TokenInvalid, invalid)),
            None => Found::Ended(stored.id),
        })
    }

    /// Opens a session, or reports the caller's own.
    pub async fn open_session(
        &self,
        caller: Caller,
        key: Option<CommandKey>,
    ) -> Result<SessionReport, Refusal> {
        let keyed = IdempotentRequest::new(&caller, key, SESSION_OPEN, &())?;
        self.once(keyed, async |keyed| {
            self.report_or_open(caller, keyed).await
        })
        .await
    }

    /// Releases a seat.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, NOT_SEATED, KEY_REUSED, RATE_LIMITED, UNAVAILABLE.
    pub async fn release(
        &self,
        session: &SessionHandle,
        code: RoomCode,
        key: Option<CommandKey>,
    ) -> Result<(), Refusal> {
        let caller = Caller::Session(session.clone());
        let keyed = IdempotentRequest::new(&caller, key, "seat.release", &code.as_str())?;
        self.once(keyed, async |keyed| {
            self.count_change(Some(session))?;
            self.check_code(code, Some(session)).await?;
            self.release_once(session.id(), code, keyed).await
        })
        .await
    }

    async fn release_once(
        &self,
        session: SessionId,
        code: RoomCode,
        keyed: Option<IdempotentRequest>,
    ) -> Result<(), Refusal> {
        let once = keyed.map(|keyed| keyed.answered(&()));
        let tries = AtomicUsize::new(0);
        self.rooms
            .ask(&RoomKey::Code(code), |room| {
                let is_repeated = tries.fetch_add(1, Ordering::Relaxed) > 0;
                let once = once.clone();
                async move {
                    let released = room.release(session, once).await?;
                    // The room failed during the first try, after it had released the seat.
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

    /// Returns the public view of a room. `session` is the caller's, if it has one.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, RATE_LIMITED, UNAVAILABLE.
    pub async fn room(
        &self,
        code: RoomCode,
        session: Option<&SessionHandle>,
    ) -> Result<RoomView, Refusal> {
        self.check_code(code, session).await?;
        self.view(code).await
    }

    pub(super) async fn view(&self, code: RoomCode) -> Result<RoomView, Refusal> {
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
            seats: self.show_all(session, &report.seats).await,
        })
    }

    /// Ends a session and releases its seats. `last_words` is a last frame for the attached connection.
    pub async fn end_session(
        &self,
        session: &SessionHandle,
        last_words: Option<Frame>,
        key: Option<CommandKey>,
    ) -> Result<(), Refusal> {
        let keyed = key.map(|key| IdempotentRequest::end_of(session.id(), &key));
        self.once(keyed, async |keyed| {
            let once = keyed.map(|keyed| keyed.answered(&()));
            let (last_words, once) = (&last_words, &once);
            self.sessions
                .ask(session, |session| async move {
                    session.end(last_words.clone(), once.clone()).await
                })
                .await
                .map_err(unanswered)?
        })
        .await
    }

    /// Ends the session with a token. The same request may have ended that session before.
    pub async fn end_session_of(
        &self,
        token: &SessionToken,
        key: Option<CommandKey>,
        retries: Retries<'_>,
    ) -> Result<(), Refusal> {
        match self.find(token, retries).await? {
            Found::Session(session) => {
                self.check_login(&session)?;
                self.end_session(&session, None, key).await
            }
            Found::Ended(session) => self.recall_end(session, key.as_ref()).await,
        }
    }

    /// Attaches a connection to a session. It replaces one that is attached already.
    pub async fn attach(
        &self,
        session: &SessionHandle,
        outbound: &Outbound,
        order: ConnectOrder,
    ) -> Result<Attached, Refusal> {
        self.sessions
            .ask(session, |session| async move {
                session.attach(outbound.clone(), order).await
            })
            .await
            .map_err(unanswered)?
    }

    /// Opens a session for a client that is about to attach to it.
    pub async fn open_live_session(
        &self,
        caller: Caller,
    ) -> Result<(SessionHandle, Option<SessionToken>), Refusal> {
        let fresh = match self.fresh(caller) {
            Ok(fresh) => fresh,
            Err(session) => return Ok((session, None)),
        };
        self.count_newcomer()?;
        let report = self.write_session(&fresh, fresh.report(), None).await?;
        let seed = fresh.seed(report.user, Vec::new());
        let session = self.sessions.start(seed).await.map_err(unanswered)?;
        Ok((session, Some(fresh.token)))
    }

    /// Refuses new work while the hub stops.
    pub(super) fn check_open(&self) -> Result<(), Refusal> {
        match self.sessions.is_stopping() {
            true => Err(Refusal::stopping()),
            false => Ok(()),
        }
    }

    /// Returns permission to claim a seat: in the room with this code, or in a new one without a code.
    pub(super) async fn ticket(
        &self,
        session: &SessionHandle,
        code: Option<RoomCode>,
    ) -> Result<ClaimTicket, Refusal> {
        self.sessions
            .ask(
                session,
                |session| async move { session.begin_claim(code).await },
            )
            .await
            .map_err(unanswered)?
    }

    pub(super) async fn report(&self, session: &SessionHandle) -> Result<Report, Refusal> {
        self.sessions
            .ask(session, |session| async move { session.report().await })
            .await
            .map_err(unanswered)
    }

    pub fn now(&self) -> HubTime {
        self.sessions.clock().now()
    }

    /// Returns the moment in hub time at which the wall clock will show `moment`.
    pub fn from_wall(&self, moment: WallTime) -> HubTime {
        self.sessions.clock().from_wall(moment)
    }
}

pub(super) fn session_ended() -> Refusal {
    Refusal::new(Reason::SessionEnded, "the session has ended")
}

pub(super) fn room_not_found() -> Refusal {
    Refusal::new(Reason::RoomNotFound, "there is no room with this code")
}

/// Returns UNAVAILABLE: an actor did not answer, or its row could not be read. The outcome is unknown, and a retry is
/// safe. For a row that can never be read it returns INTERNAL.
pub(super) fn unanswered(error: impl Into<LoadError>) -> Refusal {
    load_refusal(error)
}

/// Returns true if the room code is taken, so that another may be tried.
pub(super) fn is_code_taken(error: &WriteError) -> bool {
    matches!(error, WriteError::Refused(Refused::CodeTaken))
}

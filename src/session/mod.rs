//! A user's presence, which outlives its sockets.

use std::sync::Arc;

use crate::id::{RoomCode, SessionToken, UserId};
pub use crate::wire::{JoinRequest, OpenRoomRequest, QuickMatchRequest};
use crate::wire::{Refusal, RoomView, SeatView, SessionView, UserView};

/// What users may do. A cheap clone.
#[derive(Clone, Debug)]
pub struct Actions;

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Caller {
    Session(SessionHandle),
    Guest { name: Arc<str> },
    Account { id: UserId, name: Option<Arc<str>> },
}

/// The way to one session.
#[derive(Clone, Debug)]
pub struct SessionHandle;

/// The answer to whoever entered a room.
#[derive(Clone, Debug)]
pub struct Entered {
    pub room: RoomView,
    pub seat: Option<SeatView>,
    pub session: SessionView,
    pub user: UserView,
}

/// A session with its seats.
#[derive(Clone, Debug)]
pub struct SessionReport {
    pub session: SessionView,
    pub user: UserView,
    pub seats: Vec<SeatView>,
}

impl Actions {
    pub async fn identify(&self, _token: &SessionToken) -> Result<SessionHandle, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn open_session(&self, _caller: Caller) -> Result<SessionReport, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn open_room(
        &self,
        _caller: Caller,
        _request: OpenRoomRequest,
    ) -> Result<Entered, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn join_room(
        &self,
        _caller: Caller,
        _code: RoomCode,
        _request: JoinRequest,
    ) -> Result<Entered, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn quick_match(
        &self,
        _caller: Caller,
        _request: QuickMatchRequest,
    ) -> Result<Entered, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn room(&self, _code: RoomCode) -> Result<RoomView, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn session(&self, _session: &SessionHandle) -> Result<SessionReport, Refusal> {
        Err(Refusal::unavailable())
    }

    pub async fn end_session(&self, _session: &SessionHandle) -> Result<(), Refusal> {
        Err(Refusal::unavailable())
    }
}

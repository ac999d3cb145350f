//! What clients are shown of rooms, seats, sessions and users: the same objects on the socket and over HTTP.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, SessionToken, UserId};

/// A seat as its holder sees it: `SEAT` in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeatView {
    #[serde(serialize_with = "display")]
    pub room: RoomCode,
    pub channel: Arc<str>,
    pub seat: u16,
    pub team: Option<Arc<str>>,
    pub status: SeatStatus,
    /// The whole hold while held, what is left of it while away; rounded up to whole seconds.
    pub hold_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SeatStatus {
    Empty,
    Held,
    Away,
}

/// A room as everybody may see it: `ROOM` in the protocol.
#[derive(Debug, Clone, Serialize)]
pub struct RoomView {
    #[serde(serialize_with = "display")]
    pub id: RoomId,
    #[serde(serialize_with = "display")]
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub channel: Arc<str>,
    pub status: RoomStatus,
    pub capacity: u16,
    pub current_game_id: Option<Arc<str>>,
    pub settings: Arc<RawValue>,
    pub seats: Vec<PlaceView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStatus {
    Open,
    /// Each seat has a holder.
    Ready,
    /// A game is set.
    Playing,
    Closed,
}

/// One seat in a [`RoomView`].
#[derive(Debug, Clone, Serialize)]
pub struct PlaceView {
    pub seat: u16,
    pub team: Option<Arc<str>>,
    pub status: SeatStatus,
    pub user: Option<UserView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    #[serde(serialize_with = "display")]
    pub id: UserId,
    pub name: Arc<str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SessionView {
    #[serde(serialize_with = "display")]
    pub id: SessionId,
    /// Only where this very request made the session or added a token to it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reveal")]
    pub token: Option<SessionToken>,
    #[serde(serialize_with = "rfc3339")]
    pub expires_at: HubTime,
}

fn display<T: std::fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn reveal<S: Serializer>(token: &Option<SessionToken>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Some(token) => serializer.serialize_str(token.reveal()),
        None => serializer.serialize_none(),
    }
}

fn rfc3339<S: Serializer>(time: &HubTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339())
}

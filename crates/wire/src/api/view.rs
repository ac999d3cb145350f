//! Views of rooms, seats, sessions and users for clients: the same objects on the socket, over HTTP and in stored
//! responses.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::id::{RoomCode, RoomId, SeatToken, SessionId, SessionToken, UserId};
use crate::time::WallTime;

/// A seat as its holder sees it: `SEAT` in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatView {
    #[serde(with = "text")]
    pub room: RoomCode,
    pub channel: Arc<str>,
    pub seat: u16,
    pub team: Option<Arc<str>>,
    pub status: SeatStatus,
    /// The whole hold while the seat is held, the rest of it while away; rounded up to whole seconds.
    pub hold_seconds: u64,
    /// Sent to the holder only.
    #[serde(
        skip_deserializing,
        skip_serializing_if = "Option::is_none",
        serialize_with = "reveal_seat"
    )]
    pub token: Option<SeatToken>,
    #[serde(
        skip_deserializing,
        skip_serializing_if = "Option::is_none",
        serialize_with = "perhaps_rfc3339"
    )]
    pub token_expires_at: Option<WallTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeatStatus {
    Empty,
    Held,
    Away,
}

/// A room as anyone may see it: `ROOM` in the protocol.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoomView {
    #[serde(with = "text")]
    pub id: RoomId,
    #[serde(with = "text")]
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub channel: Arc<str>,
    pub status: RoomStatus,
    pub capacity: u16,
    pub current_game_id: Option<Arc<str>>,
    pub settings: Arc<RawValue>,
    pub seats: Vec<PlaceView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomStatus {
    Open,
    /// Each seat has a holder.
    Ready,
    /// The room has a current game.
    Playing,
    Closed,
}

impl RoomView {
    /// Replaces the name of a user in every seat that the user holds.
    pub fn rename(&mut self, user: &UserView) {
        for seated in self.seats.iter_mut().filter_map(|seat| seat.user.as_mut()) {
            if seated.id == user.id {
                seated.name = Arc::clone(&user.name);
            }
        }
    }
}

/// One seat in a [`RoomView`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlaceView {
    pub seat: u16,
    pub team: Option<Arc<str>>,
    pub status: SeatStatus,
    pub user: Option<UserView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    #[serde(with = "text")]
    pub id: UserId,
    pub name: Arc<str>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionView {
    #[serde(with = "text")]
    pub id: SessionId,
    /// Set only if this request made the session or added a token to it.
    #[serde(
        skip_deserializing,
        skip_serializing_if = "Option::is_none",
        serialize_with = "reveal"
    )]
    pub token: Option<SessionToken>,
    #[serde(with = "rfc3339")]
    pub expires_at: WallTime,
}

fn reveal<S: Serializer>(token: &Option<SessionToken>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Some(token) => serializer.serialize_str(token.reveal()),
        None => serializer.serialize_none(),
    }
}

fn reveal_seat<S: Serializer>(token: &Option<SeatToken>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Some(token) => serializer.serialize_str(token.reveal()),
        None => serializer.serialize_none(),
    }
}

fn perhaps_rfc3339<S: Serializer>(
    time: &Option<WallTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339::serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Serde form of values that are written as text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Serde form of a time: RFC 3339.
mod rfc3339 {
    use super::{Deserialize, Deserializer, Serializer, WallTime};

    pub(super) fn serialize<S: Serializer>(
        time: &WallTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<WallTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = WallTime::from_rfc3339(&text);
        time.ok_or_else(|| serde::de::Error::custom("a moment is written as RFC 3339"))
    }
}

//! Rows as they were read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, TokenHash, UserId};
use crate::token::Generations;

/// A session as stored.
#[derive(Debug, Clone)]
pub struct StoredSession {
    pub id: SessionId,
    pub user: UserId,
    pub user_name: Arc<str>,
    pub expires_at: HubTime,
    pub login_until: Option<HubTime>,
    pub is_ended: bool,
    pub tokens: Vec<TokenHash>,
    pub seats: Vec<StoredSeat>,
}

/// A held or away seat, as stored.
#[derive(Debug, Clone)]
pub struct StoredSeat {
    pub room: RoomId,
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub number: u16,
    pub team: Option<Arc<str>>,
    pub session: SessionId,
    pub user: UserId,
    pub user_name: Arc<str>,
    pub grace: Duration,
    /// None while held.
    pub hold_until: Option<HubTime>,
    pub tokens: Generations,
}

/// A room as stored.
#[derive(Debug, Clone)]
pub struct StoredRoom {
    pub id: RoomId,
    pub code: RoomCode,
    pub kind: Arc<str>,
    pub settings: Arc<str>,
    pub grace: Duration,
    pub current_game_id: Option<Arc<str>>,
    pub stream: StoredStream,
    pub is_closed: bool,
    pub seats: Vec<StoredSeat>,
}

/// A room's stream as stored: written out at a planned stop, or always if it is durable.
#[derive(Debug, Clone, Default)]
pub struct StoredStream {
    pub epoch: Arc<str>,
    pub top: u64,
    /// True if the stream may continue after `top` under its `epoch`: false for a memory stream after a crash.
    pub is_continued: bool,
    /// True if the database has the whole history. Its publications are then read when they are needed.
    pub is_durable: bool,
    pub publications: Vec<StoredPublication>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPublication {
    pub offset: u64,
    pub data: Bytes,
    /// The publisher as JSON, if there was one.
    pub info: Option<Bytes>,
    /// A JSON object, if there are tags.
    pub tags: Option<Bytes>,
    pub time: HubTime,
}

/// The newest publications of a durable stream, as many as are worth reading.
#[derive(Debug, Clone)]
pub struct HistoryWindow {
    pub room: RoomId,
    pub epoch: Arc<str>,
    /// The newest offset. Publications before a gap are left out.
    pub top: u64,
    pub count_max: usize,
    pub bytes_max: usize,
    /// Older publications are left out.
    pub since: HubTime,
}

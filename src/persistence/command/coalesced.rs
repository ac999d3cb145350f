//! Coalesced writes: the newest per key goes with the next group.

use std::sync::Arc;

use crate::clock::HubTime;
use crate::id::{RoomId, SessionId, UserId};

/// A coalesced write: the newest per key is committed with the next group. It may be lost.
#[derive(Debug, Clone)]
pub enum SoftWrite {
    SeatAway {
        room: RoomId,
        seat: u16,
        session: SessionId,
        since: HubTime,
        hold_until: HubTime,
    },
    SeatBack {
        room: RoomId,
        seat: u16,
        session: SessionId,
        at: HubTime,
    },
    /// The session was used: its expiry moves on, unless the session has become another user's.
    SessionSeen {
        session: SessionId,
        user: UserId,
        at: HubTime,
        expires_at: HubTime,
        login_until: Option<HubTime>,
    },
    /// A durable stream no longer keeps its publications below an offset.
    PruneHistory {
        room: RoomId,
        epoch: Arc<str>,
        below: u64,
    },
    /// The hub is alive at this moment.
    Heartbeat { at: HubTime },
}

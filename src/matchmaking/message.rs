//! The messages of the matchmaker.

use std::sync::Arc;

use ractor::RpcReplyPort;

use super::state::Supply;
use crate::id::RoomCode;

pub(super) enum MatchmakerMessage {
    Supply {
        code: RoomCode,
        supply: Supply,
    },
    Gone {
        code: RoomCode,
    },
    Fullest {
        kind: Arc<str>,
        team: Option<String>,
        tried: Vec<RoomCode>,
        reply: RpcReplyPort<Option<RoomCode>>,
    },
    /// Makes the actor fail, for a test.
    #[cfg(feature = "faults")]
    Panic,
}

//! Everything the matchmaker is told and asked.

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
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
}

//! What a socket asks its connection.

use std::sync::Arc;

use bytes::Bytes;
use ractor::RpcReplyPort;
use serde_json::value::RawValue;

use super::protocol::server_subscriptions::Wanted;
use crate::wire::{Failure, Position};

pub(super) enum ConnectionMessage {
    /// A frame has come. One at a time: the answer is leave to send the next.
    Frame {
        payload: Bytes,
        reply: RpcReplyPort<Served>,
    },
    /// A game's server wants the client to hear a channel.
    Subscribe {
        wanted: Box<Wanted>,
        recover: Option<Position>,
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    /// A game's server wants the client to hear a channel no more.
    Unsubscribe {
        channel: String,
        reply: RpcReplyPort<()>,
    },
    /// Something that a token granted may be over.
    Wake,
    /// A game's server says how many seconds the connection is good for, and perhaps what others see of it.
    Refresh {
        ttl: Option<u32>,
        info: Option<Arc<RawValue>>,
        reply: RpcReplyPort<()>,
    },
    /// Fail, because a tester wants it.
    #[cfg(feature = "faults")]
    Panic,
}

/// What a frame was, for the heartbeat.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Served {
    pub(super) is_connected: bool,
    pub(super) has_pong: bool,
}

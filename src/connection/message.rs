//! The messages of a connection actor.

use std::sync::Arc;

use bytes::Bytes;
use ractor::RpcReplyPort;
use serde_json::value::RawValue;

use super::protocol::server_subscriptions::Wanted;
use crate::wire::{Failure, Position};

pub(super) enum ConnectionMessage {
    /// A frame from the client. The socket sends one at a time, and waits for the reply before the next.
    Frame {
        payload: Bytes,
        reply: RpcReplyPort<Served>,
    },
    /// A game server subscribes the client to a channel.
    Subscribe {
        wanted: Box<Wanted>,
        recover: Option<Position>,
        reply: RpcReplyPort<Result<(), Failure>>,
    },
    /// A game server unsubscribes the client from a channel.
    Unsubscribe {
        channel: String,
        reply: RpcReplyPort<()>,
    },
    /// A right that a token granted may have expired.
    Wake,
    /// A game server sets how many seconds the connection lasts, and perhaps the `info` that others see.
    Refresh {
        ttl: Option<u32>,
        info: Option<Arc<RawValue>>,
        reply: RpcReplyPort<()>,
    },
    /// Makes the actor fail, for a test.
    #[cfg(feature = "faults")]
    Panic,
}

/// The result of a frame, for the heartbeat.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Served {
    pub(super) is_connected: bool,
    pub(super) has_pong: bool,
}

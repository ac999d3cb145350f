//! What a socket asks its connection.

use bytes::Bytes;
use ractor::RpcReplyPort;

pub(super) enum ConnectionMessage {
    /// A frame has come. One at a time: the answer is leave to send the next.
    Frame {
        payload: Bytes,
        reply: RpcReplyPort<Served>,
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

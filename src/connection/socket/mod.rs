//! The IO of one WebSocket: its task, its frames, its heartbeat, and the limits on the bytes and frames it may send.

pub(crate) mod frame_limits;
pub(crate) mod heartbeat;
mod poll_on_wake;
pub(crate) mod task;
pub(crate) mod transport;

//! The bounded queue from a room to one socket.
//!
//! A sender queues frames and never waits. The socket's task takes all queued frames and writes them together. A
//! client that reads too slowly fills its queue and is disconnected. The queue never grows past its limits, and no
//! sender waits for a slow client.

mod outbound;

pub use outbound::{
    Drained, GATHERED_MAX, HeldBack, Inbox, Outbound, QueueLimits, Refused, Sleeper,
};

//! The bounded way from a room to one socket.
//!
//! Whoever has something for a client offers it here and goes on at once; the socket's task takes all
//! that has gathered and writes it together. A client that reads too slowly fills its queue, and is
//! then cut off: its queue never grows past its limits, and nobody waits for it.

mod outbound;

pub use outbound::{
    Drained, GATHERED_MAX, HeldBack, Inbox, Outbound, QueueLimits, Refused, Sleeper,
};

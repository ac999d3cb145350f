//! Sessions: a user's presence, which outlives its sockets.
//!
//! A live session is an actor: away, attached to one connection, ending while its end is written, then ended. A session
//! that is away and holds no seat is only a row; its actor retires, and the next lookup starts it again.
//!
//! - Owns: the attached connection, the seats that the session holds, and the claims under way.
//! - Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! - On failure: the socket closes with a code that makes the client reconnect, the seats go away, and the session is
//!   restored from the database.

mod actor;
mod directory;
mod dormant;
mod end_all;
mod ended_lately;
mod handle;
mod message;
mod metric;
mod registry;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use actor::{Adoption, token_until};
pub use handle::{Attachment, ConnectOrder, SessionHandle};
pub(crate) use message::ClaimTicket;
pub use message::{Attached, Report};
pub(crate) use registry::SessionSeed;
pub use registry::{SeatEventRouter, Sessions};

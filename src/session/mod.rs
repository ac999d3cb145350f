//! Sessions: a user's presence, which outlives its sockets.
//!
//! Owns: which connection is attached, which seats the session holds, claims under way.
//! Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! On failure: the socket closes with a code that brings the client back, the seats turn away, and
//! the session is restored from the database.

mod actor;
mod directory;
mod dormant;
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

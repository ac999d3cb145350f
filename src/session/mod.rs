//! Sessions: a user's presence, which outlives its sockets.
//!
//! Owns: which connection is attached, which seats the session holds, claims under way.
//! Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! On failure: the socket closes with a code that brings the client back, the seats turn away, and
//! the session is restored from the database.

mod actor;
mod adoption;
mod brood;
mod claim;
mod directory;
mod dormant;
mod ending;
mod handle;
mod login_end;
mod message;
mod metric;
mod renewal;
mod room;
mod seats;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use adoption::Adoption;
pub(crate) use brood::SessionSeed;
pub use brood::{SeatNotices, Sessions};
pub use handle::{Attachment, ConnectOrder, SessionHandle};
pub(crate) use login_end::token_until;
pub(crate) use message::ClaimTicket;
pub use message::{Attached, Report};

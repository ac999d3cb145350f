//! Sessions: a user's presence, which outlives its sockets, and what a player may do.
//!
//! Owns: which connection is attached, which seats the session holds, claims under way.
//! Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! On failure: the socket closes with a code that brings the client back, the seats turn away, and
//! the session is restored from the database.

mod account;
mod actions;
mod actor;
mod adoption;
mod brood;
mod claim;
mod directory;
mod dormant;
mod ending;
mod fresh;
mod handle;
mod hold;
mod joining;
mod limit;
mod login;
mod login_end;
mod message;
mod metric;
mod once;
mod opening;
mod quick_match;
mod removal;
mod renewal;
mod resume;
mod room;
mod seats;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub use account::LoggedIn;
pub use actions::{Actions, Caller, Entered, SessionReport};
pub use brood::{SeatNotices, Sessions};
pub use handle::{Attachment, ConnectOrder, SessionHandle};
pub use limit::{Guess, PlayerLimits};
pub use message::{Attached, Report};
pub use resume::{Resumed, Returning, SeatProof};

pub use crate::wire::{JoinRequest, OpenRoomRequest, QuickMatchRequest};

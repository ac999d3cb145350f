//! Quick match: which room a player who does not care should be sent to.
//!
//! Owns: the counts of free seats, told to it by the rooms.
//! Supervised by: the hub, one actor in a process.
//! On failure: starts empty; each room tells its count again.

mod actor;
mod handle;
mod message;
mod state;

pub use handle::Matchmaker;
pub use state::Supply;

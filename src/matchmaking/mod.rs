//! Quick match: chooses a room for a player who has no preference.
//!
//! Owns: the counts of free seats, reported by the rooms.
//! Supervised by: the hub, one actor in a process.
//! On failure: starts empty; each room reports its count again.

mod actor;
mod handle;
mod message;
mod state;

pub use handle::Matchmaker;
pub use state::Supply;

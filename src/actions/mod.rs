//! Actions: the requests of players, and of the game's server on their behalf. The socket and HTTP share them.
//!
//! - Owns: idempotency keys, the limits on players, and the checks of who may request what.
//! - An action runs in a task of its own. It asks sessions and rooms, and a single commit decides the outcome.

mod extend_hold;
mod idempotency;
mod join_room;
mod log_in;
mod log_in_guest;
mod new_session;
mod open_room;
mod player;
mod player_limits;
mod quick_match;
mod redeem_seat_token;
mod remove_sessions;
#[cfg(test)]
pub(crate) mod tests;

pub use log_in_guest::LoggedIn;
pub use player::{Actions, Caller};
pub use player_limits::{Guess, Payer, PlayerLimits};
pub use redeem_seat_token::{Resumed, Returning, SeatProof};

pub use crate::wire::{JoinRequest, OpenRoomRequest, QuickMatchRequest};

//! The seats of a room: who claims, holds, leaves and takes them over, and what follows from the outcome of each write.

mod attendance;
pub(in crate::room) mod claim;
mod doubt;
mod hold;
mod release;
pub(in crate::room) mod session_change;
mod takeover;

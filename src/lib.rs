//! Holdfast: a connection hub for multiplayer games that keeps the seat.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod clock;
pub mod config;
pub mod delivery;
pub mod id;
pub mod mailbox;
pub mod matchmaking;
pub mod persistence;
pub mod supervisor;
pub mod wire;

//! Holdfast: a connection hub for multiplayer games that keeps the seat.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod delivery;
pub mod http;
pub mod id;
pub mod mailbox;
pub mod matchmaking;
pub mod persistence;
pub mod room;
pub mod session;
pub mod supervisor;
pub mod telemetry;
pub mod wire;

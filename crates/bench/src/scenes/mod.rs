//! What is measured: a file for each verb of `holdfast bench` that brings players, and the players.

pub(crate) mod create;
pub(crate) mod idle;
pub(crate) mod messaging;
mod player;
mod seating;
pub(crate) mod storm;

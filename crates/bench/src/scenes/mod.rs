//! The scenes: a file for each verb of `holdfast bench` that runs players, and the players themselves.

pub(crate) mod create;
pub(crate) mod idle;
pub(crate) mod messaging;
mod player;
mod seating;
pub(crate) mod storm;

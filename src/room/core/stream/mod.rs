//! The stream of a room: subscriptions, publications and events, and the history that is kept of them.

pub(in crate::room) mod change;
pub(in crate::room) mod history_loader;
mod publish;
pub(in crate::room) mod server_api;
mod subscribe;

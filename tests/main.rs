//! What a user of the daemon can rely on. One module per promise.

mod configuration;
mod persistence;

//! What a user of the daemon can rely on. One module per topic.

mod configuration;
mod persistence;
mod support;

//! What a user of the daemon can rely on. One module per topic.

mod browser;
mod commit;
mod concurrency;
mod configuration;
mod crash;
mod create;
mod input;
mod outage;
mod persistence;
mod room;
mod sdk;
mod seat;
mod start;
mod support;
mod trouble;
mod wire;

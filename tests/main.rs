//! What a user of the daemon can rely on. One module per topic.

mod abuse;
mod browser;
mod channel;
mod codec;
mod commit;
mod concurrency;
mod configuration;
mod crash;
mod create;
mod hold;
mod input;
mod metrics;
mod outage;
mod persistence;
mod protocol;
mod repeat;
mod respawn;
mod room;
mod sdk;
mod seat;
mod start;
mod stop;
mod supervision;
mod support;
mod trouble;
mod wire;

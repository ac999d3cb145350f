//! The client protocol: what each command does, and what the connection subscribes to.

mod connect;
pub(crate) mod dispatch;
mod rpc;
pub(crate) mod server_subscriptions;
mod subscription;
mod subscriptions;
mod token_expiry;

//! The client protocol: the commands of a connection, and its subscriptions.

mod connect;
pub(crate) mod dispatch;
mod rpc;
pub(crate) mod server_subscriptions;
mod subscription;
mod subscriptions;
mod token_expiry;

//! Logging in with a token of the game's own.

mod algorithm;
mod claim;
mod expiry;
mod guest;
mod key_set;
mod overrides;
mod session;
mod user;

use serde_json::Value;

use crate::support::{Client, Daemon, Refusal};

/// Connects with this token on a socket of its own.
async fn tries(daemon: &Daemon, token: &str) -> Result<Value, Refusal> {
    Client::dial(daemon.address()).await.connects(token).await
}

/// Connects, which must succeed; the id of the user.
async fn lets_in(daemon: &Daemon, token: &str) -> String {
    let connected = tries(daemon, token).await.unwrap();
    connected["data"]["user"]["id"].as_str().unwrap().to_owned()
}

/// Connects, which must fail with the code of this error or close.
async fn refuses(daemon: &Daemon, token: &str, code: u64) {
    let refused = tries(daemon, token).await;
    let found = refused.as_ref().map_err(Refusal::code);
    assert_eq!(found, Err(code), "{refused:?}");
}

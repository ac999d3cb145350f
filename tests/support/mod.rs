//! The vocabulary of the behaviour tests: a daemon, the players at it, its database and its lines.

mod bulk;
mod client;
mod clock;
mod daemon;
mod database;
mod disk;
mod http;
mod issuer;
mod key_server;
mod metrics;
mod plan;
mod player;
mod pooler;
mod program;
pub(crate) mod protobuf;
mod proxy;
mod server;
mod tls;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub(crate) use client::{Client, Refusal, frame};
pub(crate) use daemon::{API_KEY, Actors, Daemon, free_address};
pub(crate) use database::{Database, on_both_databases};
pub(crate) use disk::Disk;
pub(crate) use http::{Answer, Request};
pub(crate) use issuer::{Issuer, in_seconds, unsigned};
pub(crate) use key_server::{KeyServer, Serving, key_set};
pub(crate) use metrics::Metrics;
pub(crate) use plan::Plan;
pub(crate) use player::Player;
pub(crate) use pooler::Pooler;
pub(crate) use program::{ErrorOutput, output, program};
pub(crate) use proxy::{Dice, Proxy};
pub(crate) use server::{Frozen, Server};
pub(crate) use tls::{Certificate, TlsFront};

/// How long any test waits for anything. Far above what a loaded machine needs: running into it means
/// that the thing does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a loaded machine may add to a time that the daemon keeps.
pub(crate) const SLACK: Duration = Duration::from_secs(30);

/// Returns how often something is repeated: `usual` times, or `full` times in a run of `tests/long`.
pub(crate) fn repeated(usual: usize, full: usize) -> usize {
    match std::env::var_os("HOLDFAST_TEST_LONG") {
        Some(_) => full,
        None => usual,
    }
}

/// How often a start is tried anew because another process took a port first.
pub(crate) const STARTS_MAX: usize = 5;

/// How often a fact that cannot be waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
///
/// # Panics
/// With `what` and what the last look said, if it does not within [`PATIENCE`].
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = match timeout(PATIENCE, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(missing)) => missing,
            Err(_) => "no answer".to_owned(),
        };
        assert!(
            Instant::now() < deadline,
            "{what}: not within {PATIENCE:?}; at last: {missing}"
        );
        sleep(LOOK_EVERY).await;
    }
}

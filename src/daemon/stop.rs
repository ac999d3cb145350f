//! A planned stop: every seat is kept, and streams are written out last, so that clients that come back miss nothing.

use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::StartError;
use super::hub::Parts;
use super::restore::Restoring;
use crate::config::ShutdownConfig;
use crate::persistence::WriteError;

/// Share of `shutdown.timeout` in which clients are sent away at the configured rate. The rest of them are sent away
/// at once after it: their publications must still be written.
const FAREWELL_SHARE: f64 = 0.6;

/// Share of `shutdown.timeout` after which requests in progress are not waited for any more. Those that wait for the
/// database are usually answered within 4.7 s.
const REQUESTS_SHARE: f64 = 0.8;

/// Minimum time for the steps after the clients and their requests: a commit, if the database is healthy.
const WRITE_MIN: Duration = Duration::from_millis(500);

/// The parts of a planned stop, besides the components.
pub(super) struct Stop<'a> {
    pub(super) config: &'a ShutdownConfig,
    pub(super) parts: &'a Parts,
    /// Rooms of the last run that may not be live yet.
    pub(super) restoring: Restoring,
    /// Tracks the sockets, the requests and the changes in progress.
    pub(super) tracker: &'a TaskTracker,
    /// Closes the public port. Until then it answers that the hub is not ready.
    pub(super) listening: &'a CancellationToken,
}

impl Stop<'_> {
    /// Carries out the stop. It gives up clients and their requests after `shutdown.timeout`, and also a database
    /// that accepts no writes. A database that does gets the time that all histories need.
    pub(super) async fn run(self) -> Result<(), StartError> {
        info!("stopping");
        self.take_down().await.map_err(|error| {
            StartError::Failure(format!(
                "the streams were not written out, so clients may have missed publications: {error}"
            ))
        })?;
        info!("stopped");
        Ok(())
    }

    async fn take_down(self) -> Result<(), WriteError> {
        let began = Instant::now();
        let share = |share| self.config.timeout.mul_f64(share);
        let Parts {
            persistence,
            rooms,
            sessions,
            connections,
            ..
        } = self.parts;
        // From here on no client can come back, so no hold is charged for the time.
        sessions.set_stopping();
        let since = self.parts.clock.now();
        rooms.pause();
        connections
            .say_goodbye(self.config.clients_per_second, share(FAREWELL_SHARE))
            .await;
        self.listening.cancel();
        self.tracker.close();
        let requests_until = began + share(REQUESTS_SHARE);
        if timeout_at(requests_until, self.tracker.wait())
            .await
            .is_err()
        {
            warn!("requests are still in progress and are not waited for any more");
        }
        self.restoring.stopped().await;
        let left = || self.config.timeout.saturating_sub(began.elapsed());
        let mut streams = rooms.freeze(left().max(WRITE_MIN)).await;
        match persistence.untouched_streams().await {
            Ok(untouched) => streams.extend(untouched),
            Err(error) => warn!(%error, "rooms that were not started begin new streams"),
        }
        info!(streams = streams.len(), "writing the streams out");
        persistence
            .clean_stop(streams, since, left().max(WRITE_MIN))
            .await?;
        if timeout(self.config.timeout, persistence.drain())
            .await
            .is_err()
        {
            // Everything is stored: the next start finds a planned stop.
            warn!("the database was not closed in time");
        }
        Ok(())
    }
}

//! A planned stop: no seat is turned away, and streams are written out last, so that clients that
//! come back miss nothing.

use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::StartError;
use super::hub::Parts;
use super::restore::Restoring;
use crate::config::ShutdownConfig;
use crate::persistence::WriteError;

/// The share of `shutdown.timeout` in which clients are told to come back at the pace asked for. The
/// rest of them is told at once then: what they said must still be written.
const FAREWELL_SHARE: f64 = 0.6;

/// The share of `shutdown.timeout` after which requests under way are not waited for any more. Those
/// that wait for the database are answered within 4.7 s as a rule.
const REQUESTS_SHARE: f64 = 0.8;

/// The least time for what comes after the clients and their requests: a commit, if the database is well.
const WRITE_MIN: Duration = Duration::from_millis(500);

/// What a planned stop takes down, besides the parts.
pub(super) struct Stop<'a> {
    pub(super) config: &'a ShutdownConfig,
    pub(super) parts: &'a Parts,
    /// Rooms of the last run that may not be live yet.
    pub(super) restoring: Restoring,
    /// Knows the sockets, the requests and the changes under way.
    pub(super) tracker: &'a TaskTracker,
    /// Closes the public port. Until then it answers, that it is not ready.
    pub(super) listening: &'a CancellationToken,
}

impl Stop<'_> {
    /// Carries it out. Clients and their requests are given up after `shutdown.timeout`, and so is a database that takes
    /// nothing. One that does is given the time that all histories need.
    pub(super) async fn run(self) -> Result<(), StartError> {
        info!("stopping");
        self.take_down().await.map_err(|error| {
            StartError::Failure(format!(
                "the streams were not written out, clients will be told that they may have missed something: {error}"
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
        // From here on nobody comes back, so no hold is charged for the time.
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
            warn!("requests are still under way and are not waited for any more");
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
            // All is stored: the next start finds a planned stop.
            warn!("the database was not closed in time");
        }
        Ok(())
    }
}

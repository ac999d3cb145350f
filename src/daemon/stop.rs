//! A planned stop: no seat is turned away, and streams are written out last, so that clients that
//! come back miss nothing.

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::StartError;
use super::hub::Parts;
use crate::config::ShutdownConfig;
use crate::persistence::WriteError;

/// The share of `shutdown.timeout` in which clients are told to come back at the pace asked for. The
/// rest of them is told at once then: what they said must still be written.
const FAREWELL_SHARE: f64 = 0.6;

/// The share of `shutdown.timeout` after which requests under way are not waited for any more. Those
/// that wait for the database are answered within 4.7 s as a rule.
const REQUESTS_SHARE: f64 = 0.8;

/// The share of what is left for which the last write is tried again, so that its failure is told and
/// not only that time was up.
const WRITE_SHARE: f64 = 0.7;

/// What a planned stop takes down, besides the parts.
pub(super) struct Stop<'a> {
    pub(super) config: &'a ShutdownConfig,
    pub(super) parts: &'a Parts,
    /// Knows the sockets, the requests and the changes under way.
    pub(super) tracker: &'a TaskTracker,
    /// Closes the public port. Until then it answers, that it is not ready.
    pub(super) listening: &'a CancellationToken,
}

impl Stop<'_> {
    /// Carries it out within `shutdown.timeout`.
    pub(super) async fn run(self) -> Result<(), StartError> {
        info!("stopping");
        let limit = self.config.timeout;
        match timeout(limit, self.take_down()).await {
            Ok(Ok(())) => {
                info!("stopped");
                Ok(())
            }
            Ok(Err(error)) => Err(StartError::Failure(format!(
                "the streams were not written out, clients will be told that they may have missed something: {error}"
            ))),
            Err(_) => Err(StartError::Failure(format!(
                "not stopped within shutdown.timeout ({limit:?}), clients will be told that they may have missed something"
            ))),
        }
    }

    async fn take_down(&self) -> Result<(), WriteError> {
        let began = Instant::now();
        let share = |share| self.config.timeout.mul_f64(share);
        let Parts {
            persistence,
            rooms,
            sessions,
            connections,
            ..
        } = self.parts;
        sessions.set_stopping();
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
        let streams = rooms.freeze().await;
        info!(streams = streams.len(), "writing the streams out");
        let left = self.config.timeout.saturating_sub(began.elapsed());
        let within = left.mul_f64(WRITE_SHARE);
        persistence.clean_stop(streams, within).await?;
        persistence.drain().await;
        Ok(())
    }
}

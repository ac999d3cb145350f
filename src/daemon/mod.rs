//! Builds every part in order, serves, and stops them in reverse.

mod hub;
mod start;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin;
use crate::clock::HubClock;
use crate::config::{Config, ConfigError, FolderError};
use crate::http::{self, Health, Limits, Listener};
use crate::persistence::{OpenError, Store};
use crate::supervisor::Readiness;
use crate::telemetry;

use self::hub::{HubHandle, Parts};

/// How long the database has to answer a health check before it counts as away.
const PROBE_WITHIN: Duration = Duration::from_millis(700);

/// What health says of a database that answers and stores nothing: locked, full, read-only, or too slow.
const DATABASE_TAKES_NO_WRITES: &str =
    "the database answers but takes no writes; rooms play on, nothing new is stored";

/// Why the daemon did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Port {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the database cannot be used: {0}")]
    Database(String),
    #[error("another daemon is running: {0}")]
    SecondDaemon(String),
    #[error(transparent)]
    DataFolder(#[from] FolderError),
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error("{0}")]
    Address(OpenError),
    #[error("{0}")]
    Failure(String),
}

impl StartError {
    /// What the process ends with, after `sysexits.h`, so that an init system can tell what restarting would
    /// mend.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Failure(_) => 1,
            StartError::Port { .. } | StartError::Database(_) | StartError::SecondDaemon(_) => 69,
            StartError::DataFolder(_) => 77,
            StartError::Configuration(_) | StartError::Address(_) => 78,
        }
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> StartError {
        match error {
            OpenError::FileInUse { .. } | OpenError::DatabaseInUse => {
                StartError::SecondDaemon(error.to_string())
            }
            OpenError::Address => StartError::Address(error),
            OpenError::Unreachable { .. }
            | OpenError::File { .. }
            | OpenError::Damaged { .. }
            | OpenError::ServerOld { .. }
            | OpenError::Newer { .. }
            | OpenError::Pending { .. }
            | OpenError::Migration(_) => StartError::Database(error.to_string()),
        }
    }
}

/// Serves until the process is told to stop.
///
/// The sockets are bound first, so that a port that is taken stops the start before anything else
/// happens; they are answered when all is restored.
pub async fn run(config: Config) -> Result<(), StartError> {
    config.prepare_data_folder()?;
    let metrics = telemetry::install_metrics();
    tokio::spawn(telemetry::keep_up_metrics(metrics.clone()));
    let mut signals = Signals::listen()?;
    let public = listen(config.server.listen)?;
    let private = listen(config.admin.listen)?;
    let readiness = Readiness::starting();

    let clock = HubClock::start();
    let store = Store::open(&config, clock).await?;
    let tracker = TaskTracker::new();
    let parts = Arc::new(Parts::new(&config, clock, store, tracker.clone()));
    let (hub, fatal) = HubHandle::start(Arc::clone(&parts))
        .await
        .map_err(failure)?;
    start::restore(&parts).await.map_err(failure)?;
    hub.beat();

    let stop = CancellationToken::new();
    let health = health(&parts, &readiness);
    let upgrades = {
        let connections = parts.connections.clone();
        Arc::new(move |stream, address| connections.accept(stream, address))
    };
    let router = http::router(
        &config.server,
        &config.auth,
        &config.client,
        http::Parts {
            actions: parts.actions.clone(),
            upgrades,
            health: health.clone(),
            tracker: tracker.clone(),
            is_dev: config.dev,
        },
    );
    let admin = admin::router(&config.admin, health, metrics);
    let (server_address, admin_address) = (address(&public)?, address(&private)?);
    let limits = Limits::public(&config.server);
    tokio::spawn(public.serve(router, limits, tracker.clone(), stop.clone()));
    let admin_tracker = TaskTracker::new();
    tokio::spawn(private.serve(admin, Limits::private(), admin_tracker, stop.clone()));
    readiness.set_ready();
    telemetry::announce_ready(&config, server_address, admin_address);

    let reason = wait(&mut signals, fatal).await;
    readiness.set_stopping();
    hub.set_stopping();
    match reason {
        Stop::Asked => tokio::select! {
            stopped = shut_down(&config, &parts, &tracker, &stop) => stopped,
            () = signals.next() => Err(StartError::Failure("stopped at once by a second signal".into())),
        },
        Stop::Fatal(reason) => Err(StartError::Failure(reason)),
    }
}

/// Why the daemon stops.
enum Stop {
    Asked,
    Fatal(String),
}

async fn wait(signals: &mut Signals, fatal: oneshot::Receiver<String>) -> Stop {
    tokio::select! {
        () = signals.next() => Stop::Asked,
        reason = fatal => Stop::Fatal(reason.unwrap_or_else(|_| "the hub has failed".to_owned())),
    }
}

/// A planned stop: no seat is turned away, and streams are written out, so that clients that come
/// back miss nothing.
async fn shut_down(
    config: &Config,
    parts: &Parts,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    info!("stopping");
    let stopping = async {
        stop.cancel();
        parts.sessions.set_stopping();
        let streams = parts.rooms.freeze().await;
        parts
            .connections
            .say_goodbye(config.shutdown.clients_per_second)
            .await;
        tracker.close();
        tracker.wait().await;
        let written = parts.persistence.clean_stop(streams).await;
        parts.persistence.drain().await;
        written
    };
    match timeout(config.shutdown.timeout, stopping).await {
        Ok(Ok(())) => {
            info!("stopped");
            Ok(())
        }
        Ok(Err(error)) => {
            warn!(%error, "streams were not written out, clients will be told that they may have missed something");
            Err(StartError::Failure(format!(
                "the stop was not recorded: {error}"
            )))
        }
        Err(_) => Err(StartError::Failure(format!(
            "not stopped within shutdown.timeout ({:?})",
            config.shutdown.timeout
        ))),
    }
}

fn health(parts: &Arc<Parts>, readiness: &Readiness) -> Health {
    let persistence = parts.persistence.clone();
    Health::new(
        readiness.clone(),
        Arc::new(move || {
            let persistence = persistence.clone();
            Box::pin(async move {
                // Asked in any case, as it also tells the log and the metrics.
                let takes_writes = persistence.takes_writes();
                match timeout(PROBE_WITHIN, persistence.probe()).await {
                    Ok(Ok(_)) if takes_writes => Ok(()),
                    Ok(Ok(_)) => Err(DATABASE_TAKES_NO_WRITES),
                    Ok(Err(_)) | Err(_) => Err(http::DATABASE_SILENT),
                }
            })
        }),
    )
}

/// What an operator or a service manager stops a daemon with.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, StartError> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(failure)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failure)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address).map_err(|source| StartError::Port { address, source })
}

fn address(listener: &Listener) -> Result<SocketAddr, StartError> {
    listener.local_address().map_err(failure)
}

fn failure(error: impl std::fmt::Display) -> StartError {
    StartError::Failure(error.to_string())
}

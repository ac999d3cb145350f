//! The life of the daemon.
//!
//! 1. Bind both ports, open the database, and start the component tree.
//! 2. Extend the holds by the downtime, and read the seats that are kept.
//! 3. Open the ports: the daemon is ready, while rooms and sessions are still being started in the background.
//! 4. Serve until a signal, the parent process or a failure ends it; then stop in reverse order.

#[cfg(feature = "faults")]
mod fault;
mod hub;
mod parent;
mod restore;
mod signal;
mod start;
mod stop;
mod sweeper;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admin::{self, Door};
use crate::auth::Verifier;
use crate::clock::{HubClock, watch_for_standstills};
use crate::config::{Config, ConfigError, FolderError};
use crate::http;
use crate::listener::{Health, HostRule, Limits, Listener};
use crate::persistence::{OpenError, Store};
use crate::supervisor::Readiness;
use crate::telemetry;
use crate::token::KeyError;

use self::hub::{HubHandle, Parts};
use self::restore::{Restoring, Waiting};
use self::stop::Stop;

pub use self::parent::Parent;
pub(crate) use self::signal::Signals;

/// Limit on the database's answer to a health check; without an answer it counts as away.
const PROBE_TIMEOUT: Duration = Duration::from_millis(700);

/// The reason why the daemon did not start, or stopped by itself.
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
    #[error(
        "{0}; without a data folder admin.token must be set (HOLDFAST_ADMIN__TOKEN or HOLDFAST_ADMIN__TOKEN_FILE)"
    )]
    NoFolder(FolderError),
    #[error("the admin token in {} is empty: remove the file, and the next start makes another", path.display())]
    AdminTokenEmpty { path: PathBuf },
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    #[error(transparent)]
    SeatTokenKey(#[from] KeyError),
    #[error("{0}")]
    Address(OpenError),
    #[error("{0}")]
    Failure(String),
}

impl StartError {
    /// Returns the exit code, after `sysexits.h`, so that an init system knows if a restart would help.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Failure(_) => 1,
            StartError::Port { .. } | StartError::Database(_) | StartError::SecondDaemon(_) => 69,
            StartError::DataFolder(_)
            | StartError::NoFolder(_)
            | StartError::SeatTokenKey(KeyError::Own { .. }) => 77,
            StartError::Configuration(_)
            | StartError::SeatTokenKey(_)
            | StartError::AdminTokenEmpty { .. }
            | StartError::Address(_) => 78,
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
            | OpenError::Refused { .. }
            | OpenError::Pooler
            | OpenError::Encoding { .. }
            | OpenError::File { .. }
            | OpenError::Damaged { .. }
            | OpenError::ServerOld { .. }
            | OpenError::Newer { .. }
            | OpenError::Pending { .. }
            | OpenError::Migration(_) => StartError::Database(error.to_string()),
        }
    }
}

/// Serves until the process is asked to stop.
///
/// The ports are bound first, so that a taken port stops the start before anything else happens. They are served once
/// every hold stands, while rooms and sessions are still being started.
pub async fn run(config: Config, parent: Option<Parent>) -> Result<(), StartError> {
    start::warn_of_short_secrets(&config);
    start::prepare_folder(&config)?;
    let door = Door::new(&start::admin_token(&config)?);
    let metrics = telemetry::install_metrics();
    tokio::spawn(telemetry::keep_up_metrics(metrics.clone()));
    let mut signals = Signals::listen().map_err(failure)?;
    let public = listen(config.server.listen)?;
    let private = listen(config.admin.listen)?;
    let readiness = Readiness::starting();
    let verifier = open_keys(&config).await?;

    let clock = start_clock();
    let opened = open_store(&config, clock, &mut signals, parent.as_ref()).await?;
    let Some(store) = opened else { return Ok(()) };
    let tracker = TaskTracker::new();
    let keyring = Arc::new(start::keyring(&config, &store).await?);
    let parts = Parts::new(
        &config,
        verifier.clone(),
        clock,
        store,
        keyring,
        tracker.clone(),
        readiness.clone(),
    );
    let parts = Arc::new(parts);
    let (hub, fatal) = HubHandle::start(Arc::clone(&parts))
        .await
        .map_err(failure)?;
    let begun = begin(&parts, &mut signals, parent.as_ref()).await?;
    let Some(rooms) = begun else { return Ok(()) };
    hub.beat();

    let listening = CancellationToken::new();
    let health = health(&parts, &readiness);
    let kill = parent.as_ref().map(|_| Parent::ask_for_kill as http::Kill);
    let router = public_router(
        &config,
        &parts,
        verifier,
        health.clone(),
        tracker.clone(),
        kill,
    );
    let admin = private_router(&config, &door, &parts, &hub, health, metrics);
    parts.persistence.open_doors().await.map_err(failure)?;
    let delay = config.faults.restore_delay;
    let restoring = Restoring::start(Arc::clone(&parts), rooms, delay);
    let (server_address, admin_address) = (address(&public)?, address(&private)?);
    let limits = Limits::public(&config.server);
    tokio::spawn(public.serve(router, limits, tracker.clone(), listening.clone()));
    // Operators may connect until the end: nothing waits for this listener or closes it.
    let (watchers, watching) = (TaskTracker::new(), CancellationToken::new());
    tokio::spawn(private.serve(admin, Limits::private(), watchers, watching));
    readiness.set_ready();
    telemetry::announce_ready(&config, server_address, admin_address);

    let reason = wait(&mut signals, parent.as_ref(), fatal, &parts).await;
    readiness.set_stopping();
    hub.set_stopping();
    restoring.stop();
    let stop = Stop {
        config: &config.shutdown,
        restoring,
        parts: &parts,
        tracker: &tracker,
        listening: &listening,
    };
    end(reason, stop, &mut signals).await
}

/// Opens the database. Returns `None` if the process is asked to stop first.
async fn open_store(
    config: &Config,
    clock: HubClock,
    signals: &mut Signals,
    parent: Option<&Parent>,
) -> Result<Option<Store>, StartError> {
    tokio::select! {
        opened = Store::open(config, clock) => Ok(Some(opened?)),
        () = told_to_stop(signals, parent) => {
            info!("stopped before the database was open");
            Ok(None)
        }
    }
}

/// Begins the run. Returns `None` if the process is asked to stop first.
async fn begin(
    parts: &Parts,
    signals: &mut Signals,
    parent: Option<&Parent>,
) -> Result<Option<Vec<Waiting>>, StartError> {
    tokio::select! {
        begun = start::begin(parts) => begun.map(Some).map_err(failure),
        reason = parts.persistence.broken() => Err(failure(reason)),
        () = told_to_stop(signals, parent) => {
            info!("stopped before the hub was ready");
            Ok(None)
        }
    }
}

async fn end(reason: Reason, stop: Stop<'_>, signals: &mut Signals) -> Result<(), StartError> {
    match reason {
        Reason::Asked => tokio::select! {
            reason = stop.parts.persistence.broken() => Err(failure(reason)),
            stopped = stop.run() => stopped,
            () = signals.urged() => Err(StartError::Failure("stopped at once by a second signal".into())),
        },
        Reason::Fatal(reason) => Err(StartError::Failure(reason)),
    }
}

/// Starts hub time, which stands still with the process.
fn start_clock() -> HubClock {
    tokio::spawn(watch_for_standstills());
    HubClock::start()
}

/// Opens the keys of the game's own login. A key set is fetched again on a schedule.
async fn open_keys(config: &Config) -> Result<Verifier, ConfigError> {
    let verifier = Verifier::open(&config.auth).await?;
    let keys = verifier.clone();
    tokio::spawn(async move { keys.keep_fresh().await });
    Ok(verifier)
}

/// Returns the routes of the public listener.
fn public_router(
    config: &Config,
    parts: &Parts,
    verifier: Verifier,
    health: Health,
    tracker: TaskTracker,
    kill: Option<http::Kill>,
) -> Router {
    let connections = parts.connections.clone();
    let parts = http::Parts {
        actions: parts.actions.clone(),
        verifier,
        connections: parts.connections.clone(),
        upgrades: Arc::new(move |stream, address, asker, encoding, has_connected| {
            connections.accept(stream, address, asker, encoding, has_connected)
        }),
        admission: parts.connections.admission(),
        health,
        tracker,
        is_dev: config.dev,
        kill,
    };
    http::router(&config.server, &config.auth, &config.client, parts)
}

/// Returns the routes of the private listener.
#[cfg_attr(
    not(feature = "faults"),
    expect(unused_variables, reason = "the hub is for fail points")
)]
fn private_router(
    config: &Config,
    door: &Door,
    parts: &Arc<Parts>,
    hub: &HubHandle,
    health: Health,
    metrics: PrometheusHandle,
) -> Router {
    let hosts = HostRule::private(&config.server);
    let router = admin::router(door, hosts.clone(), health, metrics, measure(parts));
    #[cfg(feature = "faults")]
    let router = router.merge(admin::fault_router(
        door,
        hosts,
        config.dev,
        fault::faults(parts, hub),
    ));
    router
}

/// The reason why the daemon stops.
enum Reason {
    Asked,
    Fatal(String),
}

async fn wait(
    signals: &mut Signals,
    parent: Option<&Parent>,
    fatal: oneshot::Receiver<String>,
    parts: &Parts,
) -> Reason {
    tokio::select! {
        reason = parts.persistence.broken() => Reason::Fatal(reason.to_owned()),
        () = told_to_stop(signals, parent) => Reason::Asked,
        reason = fatal => Reason::Fatal(reason.unwrap_or_else(|_| "the hub has failed".to_owned())),
    }
}

/// Waits for the first request to stop. Only a signal can repeat it.
async fn told_to_stop(signals: &mut Signals, parent: Option<&Parent>) {
    match parent {
        Some(parent) => tokio::select! {
            () = signals.next() => {}
            () = parent.goodbye() => {}
        },
        None => signals.next().await,
    }
}

fn health(parts: &Arc<Parts>, readiness: &Readiness) -> Health {
    let (persistence, looked_at) = (parts.persistence.clone(), Arc::clone(parts));
    Health::new(
        readiness.clone(),
        Arc::new(move || {
            let persistence = persistence.clone();
            Box::pin(async move {
                matches!(timeout(PROBE_TIMEOUT, persistence.probe()).await, Ok(Ok(_)))
            })
        }),
        Arc::new(move || looked_at.health()),
    )
}

/// Updates the metrics that no component counts by itself, before they are rendered.
fn measure(parts: &Arc<Parts>) -> admin::Measuring {
    let parts = Arc::clone(parts);
    Arc::new(move || {
        parts.connections.measure();
        parts.persistence.measure();
        telemetry::collect_process();
    })
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

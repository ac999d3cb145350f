//! The daemon's reports on itself: log lines, metrics, and one event when it is ready.

mod family;
mod metric;
mod series;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use crate::config::{Config, LogConfig, LogFormat, shown_database_url};

pub use family::{Family, Label, Measure};
pub use metric::FAMILIES;

/// Libraries that log each message or query at `info` or below. The configured level can override this.
const QUIET: &str = "ractor=warn,sqlx=warn,sea_orm=warn";

/// Libraries that log their traffic at `trace`: frames with tokens in them, and arbitrary bytes of a client.
const SHOWS_TRAFFIC: [&str; 2] = ["tungstenite", "tokio_tungstenite"];

/// Upper bounds of `*_seconds`: from a step inside the hub (100 µs) to past the deadline of a command (4 s).
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Upper bounds of `*_size`, which count items: powers of two up to the largest batch, 4096.
const SIZES: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// Histograms keep each sample until this upkeep: five seconds bound them, and no scrape comes more often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The handle to the recorder; there is one of each per process.
static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// The reason why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log level is invalid: {0}")]
    Level(#[from] ParseError),
    #[error("logging is already set up: {0}")]
    Already(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to standard error: text on a terminal (colours unless `NO_COLOR` is set), otherwise JSON.
pub fn start_log(log: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", log.level))?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if !is_text(log.format) {
        let lines = lines.json().flatten_event(true).with_current_span(false);
        lines.boxed()
    } else if io::stderr().is_terminal() {
        // On a terminal the library decides, and it honours NO_COLOR.
        lines.boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    let log = registry().with(lines).with(filter).with(secrets_kept());
    log.try_init()?;
    Ok(())
}

/// Drops the lines of libraries that would show data of clients, at any configured level.
fn secrets_kept<S: Subscriber>() -> impl Layer<S> {
    filter_fn(|line| {
        let crate_name = line.target().split("::").next().unwrap_or_default();
        *line.level() != Level::TRACE || !SHOWS_TRAFFIC.contains(&crate_name)
    })
}

fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    }
}

/// Collects the metrics of this process; the handle renders them for Prometheus.
///
/// A second call returns the same handle. A program that embeds the hub and has its own recorder keeps it; the handle
/// then renders nothing.
pub fn install_metrics() -> PrometheusHandle {
    let install = || {
        let recorder = metrics_builder().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("this process collects its metrics elsewhere; /metrics stays empty");
        }
        metric::register();
        process().describe();
        handle
    };
    METRICS.get_or_init(install).clone()
}

fn metrics_builder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES)
        })
        .expect("both lists of buckets have entries")
}

/// Updates the metrics of the process itself.
pub fn collect_process() {
    process().collect();
}

/// The resources that the process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct ProcessUse {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
}

/// Returns the resources used so far, if the system reports them.
pub fn process_use() -> Option<ProcessUse> {
    let used = metrics_process::collector::collect();
    Some(ProcessUse {
        cpu_seconds: used.cpu_seconds_total?,
        resident_bytes: used.resident_memory_bytes?,
    })
}

/// Returns a collector with the usual names: `process_cpu_seconds_total` and the like.
fn process() -> Collector {
    Collector::default()
}

/// Folds the samples of the histograms, for as long as it is polled.
pub async fn keep_up_metrics(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Announces that the hub is ready, with its actual addresses: a banner on a terminal, and one event always.
pub fn announce_ready(config: &Config, server: SocketAddr, admin: SocketAddr) {
    let database = shown_database_url(&config.database.url);
    if io::stderr().is_terminal() && is_text(config.log.format) {
        let banner = banner(config, server, admin, &database);
        // A terminal that has gone away is no reason to stop serving.
        let _ = io::stderr().write_all(banner.as_bytes());
    }
    tracing::info!(
        event = "ready",
        version = env!("CARGO_PKG_VERSION"),
        dev = config.dev,
        server = %server,
        admin = %admin,
        database,
        data_dir = %config.data_dir.display(),
        "ready"
    );
}

fn banner(config: &Config, server: SocketAddr, admin: SocketAddr, database: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let playground = if config.dev {
        format!("http://{server}/")
    } else {
        "off (on with --dev)".to_owned()
    };
    format!(
        "Holdfast {version}\n  \
         playground  {playground}\n  \
         websocket   ws://{server}/connection/websocket\n  \
         admin       http://{admin}\n  \
         database    {database}\n  \
         data        {}\n",
        config.data_dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_has_six_lines_and_no_password() {
        let mut config = Config::dev_default();
        config.database.url = "postgres://ana:s3cret@db/hub".into();
        let shown = shown_database_url(&config.database.url);

        let banner = banner(&config, config.server.listen, config.admin.listen, &shown);

        assert_eq!(banner.lines().count(), 6);
        assert!(banner.contains("ws://127.0.0.1:7450/connection/websocket"));
        assert!(!banner.contains("s3cret"), "{banner}");
    }

    #[test]
    fn seconds_and_sizes_are_counted_in_buckets() {
        let recorder = metrics_builder().build_recorder();
        let handle = recorder.handle();

        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("commit_seconds").record(0.002);
            metrics::histogram!("batch_size").record(3.0);
        });

        let text = handle.render();
        assert!(
            text.contains("commit_seconds_bucket{le=\"0.0025\"} 1"),
            "{text}"
        );
        assert!(text.contains("batch_size_bucket{le=\"4\"} 1"), "{text}");
    }
}

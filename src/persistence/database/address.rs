//! The database's address, and how connections to it are opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr};
use secrecy::ExposeSecret;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::error::{is_damaged, is_out_of_connections, is_refusal};
use super::lock::Unlocked;
use super::server::{self, Server};
use super::transaction::never_nested;
use crate::config::{DatabaseConfig, sqlite_path};
use crate::persistence::OpenError;

/// How long a SQLite connection waits for another program's lock, such as a backup's. The same as PostgreSQL's lock
/// timeout, and well below a command's deadline, so that a refusal is not late.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// SQLite read connections: more than the four concurrent streams of a restore gain nothing on few cores.
const SQLITE_READERS: u32 = 4;

/// Prepared statements that a connection caches. On SQLite each group size is a statement text of its own, so memory
/// is bounded below sqlx's 100.
const SQLITE_STATEMENTS: usize = 32;

/// Rows that sqlx's SQLite thread hands over at once: with its default of 50 a restore wakes too often.
const SQLITE_ROW_BUFFER: usize = 1024;

/// The idle time after which a connection is tested before it is used.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);

/// How long the writer waits for its connection. In longer outages the writer itself retries, with back-off.
pub(crate) const WRITER_ACQUIRE: Duration = Duration::from_secs(3);

/// How long a cut connection may take to close before it is dropped.
const GOODBYE: Duration = Duration::from_secs(5);

/// Limits on the PostgreSQL side, the texts in milliseconds. No statement of a group takes seconds, and the
/// transaction of a dead daemon must not keep its locks.
const WRITER_STATEMENT: &str = "5000";
const READER_STATEMENT: Duration = Duration::from_secs(10);
const LOCK: &str = "2000";
const IDLE_IN_TRANSACTION: &str = "15000";

/// The application name of a writer's connection on a PostgreSQL server, by which the next daemon finds it.
pub(crate) const WRITER_NAME: &str = "holdfast writer";

/// Server-side keepalive in seconds: a vanished daemon is noticed within 30 + 3 × 5 seconds.
const KEEPALIVE: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// The address of the database.
#[derive(Clone)]
pub(crate) enum Address {
    Sqlite(PathBuf),
    /// A secret: it may contain a password.
    Postgres(String),
}

impl Address {
    pub(crate) fn parse(config: &DatabaseConfig) -> Result<Address, OpenError> {
        let url = config.url.expose_secret();
        if let Some(path) = sqlite_path(url) {
            return Ok(Address::Sqlite(path));
        }
        if let Some(rest) = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
        {
            let url = format!("postgres://{rest}");
            return match url.parse::<sqlx::postgres::PgConnectOptions>() {
                Ok(_) => Ok(Address::Postgres(url)),
                Err(_) => Err(OpenError::Address),
            };
        }
        Err(OpenError::Address)
    }

    pub(crate) fn backend(&self) -> DbBackend {
        match self {
            Address::Sqlite(_) => DbBackend::Sqlite,
            Address::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Checks the database before anything is held there, and returns the pool sizes that it admits.
    pub(crate) async fn pools(&self, config: &DatabaseConfig) -> Result<DatabaseConfig, Unlocked> {
        match self {
            Address::Sqlite(_) => Ok(config.clone()),
            Address::Postgres(url) => Ok(Server::look(url).await?.fit(config)),
        }
    }

    /// Classifies a failed connection as a refusal, or as an outage that may pass.
    pub(crate) fn away(&self, error: DbErr) -> Unlocked {
        match self {
            Address::Sqlite(path) if is_damaged(&error) => Unlocked::Refused(OpenError::Damaged {
                path: path.clone(),
                cause: error.into(),
            }),
            Address::Postgres(_) if is_refusal(&error) => {
                let cause = error.into();
                Unlocked::Refused(OpenError::Refused { cause })
            }
            Address::Sqlite(_) | Address::Postgres(_) => Unlocked::Away(error),
        }
    }

    /// Finds out why no connection was available: a pool only knows that it timed out.
    pub(crate) async fn explain(&self, error: DbErr) -> DbErr {
        let Address::Postgres(url) = self else {
            return error;
        };
        if !is_out_of_connections(&error) {
            return error;
        }
        match server::connect(url).await {
            // A connection is available now.
            Ok(_) => error,
            Err(cause) => cause,
        }
    }

    /// Opens the one connection that writes. Fails if the database cannot be reached.
    pub(crate) async fn connect_writer(&self) -> Result<DatabaseConnection, DbErr> {
        Database::connect(self.writer_options()).await
    }

    /// Prepares a writer connection in place of one that was cut. It connects on first use.
    pub(crate) async fn connect_writer_lazily(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = self.writer_options();
        options.min_connections(0).connect_lazy(true);
        Database::connect(options).await
    }

    /// Opens the read pool. A lazy one connects on first use.
    pub(crate) async fn connect_readers(
        &self,
        config: &DatabaseConfig,
        is_lazy: bool,
    ) -> Result<DatabaseConnection, DbErr> {
        let mut options = match self {
            Address::Sqlite(path) => {
                let mut options = sqlite(path, |options| {
                    options
                        .pragma("query_only", "on")
                        .pragma("cache_size", "-8192")
                        .row_buffer_size(SQLITE_ROW_BUFFER)
                });
                options
                    .max_connections(SQLITE_READERS)
                    .min_connections(SQLITE_READERS);
                options
            }
            Address::Postgres(url) => {
                let mut options = ConnectOptions::new(url);
                options
                    .max_connections(config.connections_max)
                    .min_connections(config.connections_min)
                    .max_lifetime(config.lifetime)
                    .statement_timeout(READER_STATEMENT)
                    .test_before_acquire_if_idle_for(TEST_AFTER_IDLE)
                    .map_sqlx_postgres_opts(|options| options.options(KEEPALIVE));
                options
            }
        };
        options
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy(is_lazy)
            .sqlx_logging(false);
        Database::connect(options).await
    }

    /// Opens a single connection that is never recycled, so that its session keeps what it holds.
    pub(crate) async fn connect_single(&self) -> Result<DatabaseConnection, DbErr> {
        Database::connect(self.single_options()).await
    }

    /// Opens a connection like [`connect_single`](Self::connect_single), but on first use.
    pub(crate) async fn connect_single_lazily(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = self.single_options();
        options.min_connections(0).connect_lazy(true);
        Database::connect(options).await
    }

    /// Closes connections that may be dead, without waiting for them.
    pub(crate) fn let_go(connections: DatabaseConnection) {
        tokio::spawn(async move {
            // Closed or timed out, they are dropped.
            let _ = tokio::time::timeout(GOODBYE, connections.close()).await;
        });
    }

    fn single_options(&self) -> ConnectOptions {
        let mut options = match self {
            Address::Sqlite(path) => sqlite(path, |options| options),
            Address::Postgres(url) => ConnectOptions::new(url),
        };
        single(&mut options);
        options
    }

    fn writer_options(&self) -> ConnectOptions {
        let mut options = match self {
            Address::Sqlite(path) => sqlite(path, |options| {
                options
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // 64 MiB of cache; a checkpoint every 40 MiB, the best value measured; the log file is cut back
                    // to 64 MiB.
                    .pragma("cache_size", "-65536")
                    .pragma("wal_autocheckpoint", "10000")
                    .pragma("journal_size_limit", "67108864")
            }),
            Address::Postgres(url) => {
                let mut options = ConnectOptions::new(url);
                options.map_sqlx_postgres_opts(|options| {
                    let name = writer_name(options.get_application_name());
                    options
                        .application_name(&name)
                        .options([
                            ("statement_timeout", WRITER_STATEMENT),
                            ("lock_timeout", LOCK),
                            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
                        ])
                        .options(KEEPALIVE)
                });
                options
            }
        };
        single(&mut options);
        never_nested(&mut options);
        options
    }
}

/// Returns the application name of a writer's connection: our own, followed by the one from the URL.
fn writer_name(asked_for: Option<&str>) -> String {
    match asked_for {
        Some(name) => format!("{WRITER_NAME} ({name})"),
        None => WRITER_NAME.to_owned(),
    }
}

fn single(options: &mut ConnectOptions) {
    options
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .acquire_timeout(WRITER_ACQUIRE)
        .sqlx_logging(false);
}

fn sqlite(
    path: &Path,
    more: impl Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync + 'static,
) -> ConnectOptions {
    // A placeholder: the path is set below, because some characters have a meaning inside a URL.
    let mut options = ConnectOptions::new("sqlite://holdfast.db");
    // Absolute: SQLite gives some names a meaning of their own, such as those that begin with "file:". If the working
    // directory is gone, the path fails as it is.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    options
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(move |options| {
            more(
                options
                    .filename(&path)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(BUSY_TIMEOUT)
                    .statement_cache_capacity(SQLITE_STATEMENTS),
            )
        });
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, OpenError> {
        Address::parse(&DatabaseConfig {
            url: url.to_owned().into(),
            connections_max: 1,
            connections_min: 1,
            acquire_timeout: Duration::from_secs(1),
            lifetime: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            migrate: true,
        })
    }

    #[test]
    fn both_databases_are_known_by_their_urls() {
        assert!(
            matches!(parse("sqlite://data/holdfast.db"), Ok(Address::Sqlite(path)) if path == Path::new("data/holdfast.db"))
        );
        assert!(matches!(
            parse("postgresql://hub@db.example/hub"),
            Ok(Address::Postgres(_))
        ));
    }

    #[test]
    fn what_is_neither_or_would_vanish_is_refused() {
        for url in ["mysql://db/hub", "", "sqlite::memory:", "sqlite://"] {
            assert!(matches!(parse(url), Err(OpenError::Address)), "{url}");
        }
    }
}

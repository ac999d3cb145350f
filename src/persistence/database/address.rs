//! Where the database is, and how its connections are opened.

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

/// How long a SQLite connection waits for a lock of another program, such as a backup: as PostgreSQL does,
/// and well below the deadline of a command, so that its refusal does not come late.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// SQLite readers: more than the four streams of a restore at once bring nothing on few cores.
const SQLITE_READERS: u32 = 4;

/// Statement texts that a connection remembers: each group length is a text of its own on SQLite, so
/// the memory is bounded below sqlx's 100.
const SQLITE_STATEMENTS: usize = 32;

/// Rows that sqlx's SQLite thread hands over at once: at its default of 50 a restore wakes too often.
const SQLITE_ROW_BUFFER: usize = 1024;

/// A connection that was idle for so long is tested before it is used.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(5);

/// The writer waits so long for its connection; longer waits are the writer's own, with back-off.
pub(crate) const WRITER_ACQUIRE: Duration = Duration::from_secs(3);

/// A connection that was cut is given so long to say goodbye before it is dropped.
const GOODBYE: Duration = Duration::from_secs(5);

/// Limits on the PostgreSQL side, in milliseconds. No statement of a group takes seconds; a transaction
/// whose daemon has died must not keep its locks.
const WRITER_STATEMENT: &str = "5000";
const READER_STATEMENT: Duration = Duration::from_secs(10);
const LOCK: &str = "2000";
const IDLE_IN_TRANSACTION: &str = "15000";

/// How a writer's connection is called on a PostgreSQL server, so that the next daemon knows it by it.
pub(crate) const WRITER_NAME: &str = "holdfast writer";

/// Server-side keepalive in seconds: a daemon that vanished is noticed within 30 + 3 × 5 seconds.
const KEEPALIVE: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Where the database is.
#[derive(Clone)]
pub(crate) enum Address {
    Sqlite(PathBuf),
    /// A secret: it may hold a password.
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

    /// Looks at the database before anything is held there. Gives the sizes of pools that it admits.
    pub(crate) async fn pools(&self, config: &DatabaseConfig) -> Result<DatabaseConfig, Unlocked> {
        match self {
            Address::Sqlite(_) => Ok(config.clone()),
            Address::Postgres(url) => Ok(Server::look(url).await?.fit(config)),
        }
    }

    /// What it means that a connection could not be made.
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

    /// Finds out why no connection could be had: a pool knows only that its time was up.
    pub(crate) async fn explain(&self, error: DbErr) -> DbErr {
        let Address::Postgres(url) = self else {
            return error;
        };
        if !is_out_of_connections(&error) {
            return error;
        }
        match server::connect(url).await {
            // There is one now.
            Ok(_) => error,
            Err(cause) => cause,
        }
    }

    /// The one connection that writes. Fails if the database cannot be reached.
    pub(crate) async fn connect_writer(&self) -> Result<DatabaseConnection, DbErr> {
        Database::connect(self.writer_options()).await
    }

    /// A writer in place of one that was cut off; it connects when it is first used.
    pub(crate) async fn connect_writer_lazily(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = self.writer_options();
        options.min_connections(0).connect_lazy(true);
        Database::connect(options).await
    }

    /// The pool that reads. A lazy one connects when it is first used.
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

    /// A connection of its own, never recycled: what its session holds, it keeps.
    pub(crate) async fn connect_single(&self) -> Result<DatabaseConnection, DbErr> {
        Database::connect(self.single_options()).await
    }

    /// As [`connect_single`](Self::connect_single), connecting when it is first used.
    pub(crate) async fn connect_single_lazily(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = self.single_options();
        options.min_connections(0).connect_lazy(true);
        Database::connect(options).await
    }

    /// Closes connections that may be dead, without waiting for them.
    pub(crate) fn let_go(connections: DatabaseConnection) {
        tokio::spawn(async move {
            // Closed or not, they are dropped.
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
                    // 64 MiB of cache; a checkpoint every 40 MiB, measured as the best; the file of the
                    // log is cut back to 64 MiB.
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

/// The name of a writer's connection on the server: this, and then what the address asks for.
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
    // The path is set below as it is: inside a URL some characters mean something else.
    let mut options = ConnectOptions::new("sqlite://holdfast.db");
    // In full: SQLite has names of its own for what is no file, such as those that begin with "file:". Where the working
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

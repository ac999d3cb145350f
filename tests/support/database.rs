//! The database of one daemon under test, and a look into it past the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tokio::runtime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{PATIENCE, Proxy};

/// Where `tests/run` says its PostgreSQL is.
const POSTGRES_URL: &str = "HOLDFAST_TEST_DATABASE_URL";

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// Runs each of these functions as two tests, `name::sqlite` and `name::postgres`.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::support::Database;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(Database::Postgres).await;
            }
        }
    )+};
}
pub(crate) use on_both_databases;

/// One database, made for one test and removed with it.
#[derive(Debug)]
pub(crate) enum Store {
    Sqlite { file: PathBuf },
    Postgres { server: String, name: String },
}

/// Holds up every commit of the daemon until it ends.
#[derive(Debug)]
pub(crate) enum Stall {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Stall {
    pub(crate) async fn end(self) {
        match self {
            Stall::Sqlite(mut connection) => connection.execute("ROLLBACK").await.map(drop),
            Stall::Postgres(mut connection) => connection.execute("ROLLBACK").await.map(drop),
        }
        .unwrap();
    }
}

impl Store {
    /// A database that nobody has used, on `server` or on the one of all tests. The daemon makes the
    /// SQLite file itself.
    pub(crate) async fn make(database: Database, data_dir: &Path, server: Option<String>) -> Store {
        match database {
            Database::Sqlite => Store::Sqlite {
                file: data_dir.join("holdfast.db"),
            },
            Database::Postgres => {
                let server = server.unwrap_or_else(|| {
                    std::env::var(POSTGRES_URL).unwrap_or_else(|_| {
                        panic!("{POSTGRES_URL} is not set: start the tests with tests/run")
                    })
                });
                let name = format!("holdfast_{}", Uuid::new_v4().simple());
                let mut connection = PgConnection::connect(&server).await.unwrap();
                connection
                    .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .await
                    .unwrap();
                Store::Postgres { server, name }
            }
        }
    }

    /// What the daemon is told; nothing for the database it uses by itself.
    pub(crate) fn url(&self, through: Option<&Proxy>) -> Option<String> {
        let Store::Postgres { server, name } = self else {
            return None;
        };
        let (address, _) = server.rsplit_once('/').expect("the URL names a database");
        let url = format!("{address}/{name}");
        Some(match through {
            Some(proxy) => url.replace(&self.server().to_string(), &proxy.address().to_string()),
            None => url,
        })
    }

    /// Where PostgreSQL listens.
    pub(crate) fn server(&self) -> SocketAddr {
        let Store::Postgres { server, .. } = self else {
            panic!("SQLite listens nowhere");
        };
        let (_, address) = server.rsplit_once('@').expect("the URL names a user");
        let (address, _) = address.split_once('/').expect("the URL names a database");
        address
            .parse()
            .expect("the server is on a loopback address")
    }

    /// The one number that `sql` asks for.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Store::Sqlite { .. } => {
                let mut connection = self.open_sqlite().await;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            }
            Store::Postgres { .. } => {
                let mut connection = self.open_postgres().await;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            }
        }
        .unwrap()
    }

    /// All texts that `sql` asks for.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Store::Sqlite { .. } => {
                let mut connection = self.open_sqlite().await;
                sqlx::query_scalar(sql).fetch_all(&mut connection).await
            }
            Store::Postgres { .. } => {
                let mut connection = self.open_postgres().await;
                sqlx::query_scalar(sql).fetch_all(&mut connection).await
            }
        }
        .unwrap()
    }

    /// SQLite's file.
    pub(crate) fn file(&self) -> &Path {
        let Store::Sqlite { file } = self else {
            panic!("PostgreSQL has no file of its own");
        };
        file
    }

    /// The one text that `sql` asks for, once there is one.
    pub(crate) async fn text(&self, sql: &str) -> Option<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Store::Sqlite { .. } => {
                let mut connection = self.open_sqlite().await;
                sqlx::query_scalar(sql)
                    .fetch_optional(&mut connection)
                    .await
            }
            Store::Postgres { .. } => {
                let mut connection = self.open_postgres().await;
                sqlx::query_scalar(sql)
                    .fetch_optional(&mut connection)
                    .await
            }
        }
        .unwrap()
    }

    /// Moves every stored moment back, as if the daemon had been down for so much longer.
    pub(crate) async fn stay_down_for(&self, time: Duration) {
        let millis = time.as_millis();
        for (table, column) in [
            ("hub_clock", "last_heartbeat_at"),
            ("room_seats", "last_heartbeat_at"),
            ("room_seats", "away_since"),
            ("room_seats", "hold_until"),
            ("app_sessions", "created_at"),
            ("app_sessions", "last_seen_at"),
            ("app_sessions", "expires_at"),
            ("app_sessions", "login_until"),
        ] {
            self.execute(&format!(
                "UPDATE {table} SET {column} = {column} - {millis}"
            ))
            .await;
        }
    }

    /// Changes something behind the daemon's back.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Store::Sqlite { .. } => {
                self.open_sqlite().await.execute(sql).await.unwrap();
            }
            Store::Postgres { .. } => {
                self.open_postgres().await.execute(sql).await.unwrap();
            }
        }
    }

    /// Has the daemon commit nothing for a while, which must be shorter than `persistence.deadline`.
    pub(crate) async fn stall(&self) -> Stall {
        match self {
            Store::Sqlite { .. } => {
                let mut connection = self.open_sqlite().await;
                connection.execute("BEGIN IMMEDIATE").await.unwrap();
                Stall::Sqlite(connection)
            }
            Store::Postgres { .. } => {
                let mut connection = self.open_postgres().await;
                connection.execute("BEGIN").await.unwrap();
                let lock = "LOCK TABLE commit_groups";
                connection.execute(lock).await.unwrap();
                Stall::Postgres(connection)
            }
        }
    }

    /// Has nobody else write a seat until it ends.
    pub(crate) async fn lock_seats(&self) -> Stall {
        match self {
            Store::Sqlite { .. } => self.stall().await,
            Store::Postgres { .. } => {
                let mut connection = self.open_postgres().await;
                connection.execute("BEGIN").await.unwrap();
                let lock = "LOCK TABLE room_seats";
                connection.execute(lock).await.unwrap();
                Stall::Postgres(connection)
            }
        }
    }

    /// A connection of another program to SQLite's file.
    pub(crate) async fn open_sqlite(&self) -> SqliteConnection {
        // Not by a URL: a path may hold what means something else there.
        let options = SqliteConnectOptions::new().filename(self.file());
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    async fn open_postgres(&self) -> PgConnection {
        let url = self.url(None).expect("asked of a PostgreSQL store only");
        PgConnection::connect(&url).await.unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Store::Postgres { server, name } = self else {
            return;
        };
        let (server, name) = (server.clone(), name.clone());
        // A runtime of its own: a destructor cannot wait in the test's. Failing is harmless, as the
        // whole server goes at the end, and must not hide why the test failed.
        let dropped = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let dropping = async {
                let mut connection = PgConnection::connect(&server).await?;
                let sql = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                connection.execute(sql).await
            };
            // A server that a failed test has left frozen never answers.
            runtime
                .unwrap()
                .block_on(async { timeout(PATIENCE, dropping).await })
        });
        if !matches!(dropped.join(), Ok(Ok(Ok(_)))) {
            eprintln!("a test database was left behind");
        }
    }
}

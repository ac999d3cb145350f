//! A look at a PostgreSQL server before anything is held there: whether it is one to work with, and how many
//! connections it admits.
//!
//! Everything here goes over plain connections, without a pool, which would swallow the server's reason for a refusal; and
//! by simple queries, without prepared statements, which a pooler may give to another client.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection, Row};
use tokio::time::timeout;
use tracing::warn;

use super::address::WRITER_ACQUIRE;
use super::error::is_refusal;
use super::lock::Unlocked;
use crate::config::DatabaseConfig;
use crate::persistence::OpenError;

/// Writers at most, with a connection each: two for arrivals beside the first, on PostgreSQL. Two keep two cores of the
/// server busy; more make smaller groups, of which each costs a commit.
pub(crate) const LANES_MAX: usize = 3;

/// The oldest PostgreSQL with everything that is used here, as its `server_version_num`.
const OLDEST: i64 = 130_000;

/// Encodings that store what players write: SQL_ASCII stores each byte as it is.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

/// Connections beside those that read: the writers, the lock, and two for a moment, while one that is stuck is replaced.
const CONNECTIONS_BESIDE: i64 = LANES_MAX as i64 + 3;

/// How often two connections are looked at. A pooler with free connections gives the one used last as a rule; one that
/// gives them in turn shows itself at the second look.
const POOLER_LOOKS: usize = 3;

const FACTS: &str = "SELECT current_setting('server_version_num')::int8, \
    current_setting('server_encoding'), \
    current_setting('max_connections')::int8 \
    - current_setting('superuser_reserved_connections')::int8 \
    - COALESCE(current_setting('reserved_connections', true)::int8, 0), \
    (SELECT datconnlimit::int8 FROM pg_database WHERE datname = current_database()), \
    (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = current_user)";

/// What a server admits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// Connections of this database and this role, without those kept for superusers.
    connections_max: i64,
}

impl Server {
    /// Looks whether the server is one to work with.
    pub(crate) async fn look(url: &str) -> Result<Server, Unlocked> {
        let mut connection = connect(url).await.map_err(refused_or_away)?;
        let looked = look(&mut connection, url).await;
        // It holds nothing.
        let _ = timeout(WRITER_ACQUIRE, connection.close()).await;
        looked
    }

    /// Lowers the sizes of the pool that reads to what the server admits.
    pub(crate) fn fit(self, config: &DatabaseConfig) -> DatabaseConfig {
        let admitted = (self.connections_max - CONNECTIONS_BESIDE).max(1);
        let admitted = u32::try_from(admitted).unwrap_or(u32::MAX);
        let mut config = config.clone();
        if config.connections_max > admitted {
            warn!(
                connections_max = config.connections_max,
                server_admits = self.connections_max,
                lowered_to = admitted,
                "database.connections_max is lowered to what the PostgreSQL server admits"
            );
            config.connections_max = admitted;
            config.connections_min = config.connections_min.min(admitted);
        }
        config
    }
}

/// Connects without a pool. An error is the server's own.
pub(crate) async fn connect(url: &str) -> Result<PgConnection, DbErr> {
    let options: PgConnectOptions = url.parse().map_err(conn_error)?;
    match timeout(WRITER_ACQUIRE, PgConnection::connect_with(&options)).await {
        Ok(connected) => connected.map_err(conn_error),
        Err(_) => Err(late("nothing answered at the server's address")),
    }
}

async fn look(connection: &mut PgConnection, url: &str) -> Result<Server, Unlocked> {
    let row = ask(connection, FACTS).await.map_err(refused_or_away)?;
    let (version, encoding, limits) = facts(&row).map_err(Unlocked::Away)?;
    if version < OLDEST {
        let found = version / 10_000;
        return Err(Unlocked::Refused(OpenError::ServerOld { found }));
    }
    if !ENCODINGS.contains(&encoding.as_str()) {
        return Err(Unlocked::Refused(OpenError::Encoding { found: encoding }));
    }
    refuse_pooler(connection, url).await?;
    // A limit below zero is none.
    let limits = limits.into_iter().filter(|limit| *limit >= 0);
    Ok(Server {
        connections_max: limits.min().unwrap_or(i64::MAX),
    })
}

/// The version, the encoding, and the limits on connections.
fn facts(row: &PgRow) -> Result<(i64, String, [i64; 3]), DbErr> {
    let number = |index: usize| row.try_get::<i64, _>(index).map_err(conn_error);
    let encoding = row.try_get(1).map_err(conn_error)?;
    Ok((number(0)?, encoding, [number(2)?, number(3)?, number(4)?]))
}

/// Refuses a pooler that gives each transaction another session of the server: a lock taken there would stay with the
/// pooler. Two connections show it. Where the second is given the first one's session while the first is idle, or the first
/// finds itself in another one, no session belongs to a connection.
async fn refuse_pooler(first: &mut PgConnection, url: &str) -> Result<(), Unlocked> {
    let mut second = connect(url).await.map_err(refused_or_away)?;
    for _ in 0..POOLER_LOOKS {
        if is_session_shared(first, &mut second).await? {
            return Err(Unlocked::Refused(OpenError::Pooler));
        }
    }
    // It holds nothing.
    let _ = timeout(WRITER_ACQUIRE, second.close()).await;
    Ok(())
}

async fn is_session_shared(
    first: &mut PgConnection,
    second: &mut PgConnection,
) -> Result<bool, Unlocked> {
    let before = session(first).await?;
    if let Err(error) = command(second, "BEGIN").await {
        // A pooler that gives each statement another session admits no transaction.
        return match error.to_string().contains("pooling") {
            true => Ok(true),
            false => Err(refused_or_away(error)),
        };
    }
    let is_given_away = session(second).await? == before;
    let is_shared = is_given_away || session(first).await? != before;
    command(second, "ROLLBACK").await.map_err(refused_or_away)?;
    Ok(is_shared)
}

/// The server's process behind a connection at this moment.
async fn session(connection: &mut PgConnection) -> Result<i32, Unlocked> {
    let row = ask(connection, "SELECT pg_backend_pid()").await;
    let process = row.and_then(|row| row.try_get(0).map_err(conn_error));
    process.map_err(refused_or_away)
}

async fn ask(connection: &mut PgConnection, sql: &'static str) -> Result<PgRow, DbErr> {
    match timeout(WRITER_ACQUIRE, sqlx::raw_sql(sql).fetch_one(connection)).await {
        Ok(row) => row.map_err(conn_error),
        Err(_) => Err(late("a question was not answered")),
    }
}

async fn command(connection: &mut PgConnection, sql: &'static str) -> Result<(), DbErr> {
    match timeout(WRITER_ACQUIRE, sqlx::raw_sql(sql).execute(connection)).await {
        Ok(done) => done.map(drop).map_err(conn_error),
        Err(_) => Err(late("a command was not answered")),
    }
}

fn refused_or_away(error: DbErr) -> Unlocked {
    if is_refusal(&error) {
        let cause = error.into();
        return Unlocked::Refused(OpenError::Refused { cause });
    }
    Unlocked::Away(error)
}

fn conn_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

fn late(what: &str) -> DbErr {
    let text = format!("{what} within {WRITER_ACQUIRE:?}");
    DbErr::Conn(RuntimeErr::Internal(text))
}

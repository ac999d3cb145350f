//! Checks of a PostgreSQL server before anything is held there: whether the daemon can work with it, and how many
//! connections it admits.
//!
//! All checks use plain connections, because a pool would hide the server's reason for a refusal. They use simple
//! queries, because a pooler may hand prepared statements to another client.

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

/// The most writers, each with a connection. On PostgreSQL two lanes for arrivals run in addition to the first. Two
/// keep two cores of the server busy; more would make smaller groups, each of which costs a commit.
pub(crate) const LANES_MAX: usize = 3;

/// The oldest supported PostgreSQL, as its `server_version_num`.
const OLDEST: i64 = 130_000;

/// Encodings that can store any name: SQL_ASCII stores each byte as it is.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

/// Connections in addition to the read pool: the writers, the lock, and two for moments when a stuck one is replaced.
const CONNECTIONS_BESIDE: i64 = LANES_MAX as i64 + 3;

/// How often two connections are compared. A pooler with free connections usually hands out the one used last; one
/// that rotates them is found out at the second comparison.
const POOLER_LOOKS: usize = 3;

const FACTS: &str = "SELECT current_setting('server_version_num')::int8, \
    current_setting('server_encoding'), \
    current_setting('max_connections')::int8 \
    - current_setting('superuser_reserved_connections')::int8 \
    - COALESCE(current_setting('reserved_connections', true)::int8, 0), \
    (SELECT datconnlimit::int8 FROM pg_database WHERE datname = current_database()), \
    (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = current_user)";

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// Connections that this database and this role may have, without those reserved for superusers.
    connections_max: i64,
}

impl Server {
    /// Checks whether the daemon can work with the server, and reads its limits.
    pub(crate) async fn look(url: &str) -> Result<Server, Unlocked> {
        let mut connection = connect(url).await.map_err(refused_or_away)?;
        let looked = look(&mut connection, url).await;
        // The connection holds nothing that a failed close could lose.
        let _ = timeout(WRITER_ACQUIRE, connection.close()).await;
        looked
    }

    /// Lowers the size of the read pool to what the server admits.
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

/// Connects without a pool, so that an error is the server's own.
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
    // A negative limit means none.
    let limits = limits.into_iter().filter(|limit| *limit >= 0);
    Ok(Server {
        connections_max: limits.min().unwrap_or(i64::MAX),
    })
}

/// Returns the version, the encoding, and the limits on connections.
fn facts(row: &PgRow) -> Result<(i64, String, [i64; 3]), DbErr> {
    let number = |index: usize| row.try_get::<i64, _>(index).map_err(conn_error);
    let encoding = row.try_get(1).map_err(conn_error)?;
    Ok((number(0)?, encoding, [number(2)?, number(3)?, number(4)?]))
}

/// Refuses a pooler that gives each transaction another session of the server: a lock taken there would stay with the
/// pooler. Two connections show it: the second one gets the session of the idle first one, or the first one finds
/// itself in another session.
async fn refuse_pooler(first: &mut PgConnection, url: &str) -> Result<(), Unlocked> {
    let mut second = connect(url).await.map_err(refused_or_away)?;
    for _ in 0..POOLER_LOOKS {
        if is_session_shared(first, &mut second).await? {
            return Err(Unlocked::Refused(OpenError::Pooler));
        }
    }
    // The connection holds nothing that a failed close could lose.
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

/// Returns the server process behind a connection at this moment.
async fn session(connection: &mut PgConnection) -> Result<i32, Unlocked> {
    let row = ask(connection, "SELECT pg_backend_pid()").await;
    let process = row.and_then(|row| row.try_get(0).map_err(conn_error));
    process.map_err(refused_or_away)
}

async fn ask(connection: &mut PgConnection, sql: &'static str) -> Result<PgRow, DbErr> {
    match timeout(WRITER_ACQUIRE, sqlx::raw_sql(sql).fetch_one(connection)).await {
        Ok(row) => row.map_err(conn_error),
        Err(_) => Err(late("a query was not answered")),
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

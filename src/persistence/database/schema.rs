//! Migrates the schema to the version of this program, and never touches a newer one.

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use super::address::{Address, WRITER_ACQUIRE};
use super::error::Cause;
use super::lock::{DaemonLock, Unlocked};
use crate::config::Config;
use crate::persistence::OpenError;

/// One migration, and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    pub name: String,
    pub is_applied: bool,
}

/// Applies every pending migration. Refused while a daemon uses the database.
pub async fn migrate_up(config: &Config) -> Result<(), OpenError> {
    let (lock, writer) = open_alone(config).await?;
    let result = bring_up(&writer).await;
    close(&lock, &writer).await;
    result
}

/// Rolls the newest `steps` migrations back. Refused while a daemon uses the database.
pub async fn migrate_down(config: &Config, steps: u32) -> Result<(), OpenError> {
    let (lock, writer) = open_alone(config).await?;
    let result = match refuse_newer(&writer).await {
        Ok(_) => Migrator::down(&writer, Some(steps))
            .await
            .map_err(|error| OpenError::Migration(error.into())),
        Err(error) => Err(error),
    };
    close(&lock, &writer).await;
    result
}

/// Returns the migrations that this program knows, and which of them the database has.
pub async fn migrate_status(config: &Config) -> Result<Vec<MigrationState>, OpenError> {
    let address = Address::parse(&config.database)?;
    if let Address::Sqlite(path) = &address
        && !path.exists()
    {
        return Ok(states(&[]));
    }
    let connection = address.connect_single().await.map_err(unreachable_now)?;
    let applied = refuse_newer(&connection).await;
    // Nothing was changed, so a failed close loses nothing.
    let _ = connection.close().await;
    Ok(states(&applied?))
}

/// Applies pending migrations if `may_migrate`; otherwise refuses if there are any.
pub(crate) async fn prepare(
    writer: &DatabaseConnection,
    may_migrate: bool,
) -> Result<(), OpenError> {
    if may_migrate {
        return bring_up(writer).await;
    }
    let applied = refuse_newer(writer).await?;
    let count = states(&applied)
        .iter()
        .filter(|migration| !migration.is_applied)
        .count();
    if count > 0 {
        return Err(OpenError::Pending { count });
    }
    Ok(())
}

async fn bring_up(writer: &DatabaseConnection) -> Result<(), OpenError> {
    refuse_newer(writer).await?;
    Migrator::up(writer, None)
        .await
        .map_err(|error| OpenError::Migration(error.into()))
}

/// Returns the names of the applied migrations. Refuses a database with one that this program does not know.
async fn refuse_newer(connection: &DatabaseConnection) -> Result<Vec<String>, OpenError> {
    let applied = applied(connection).await.map_err(unreachable_now)?;
    let known = states(&[]);
    let unknown = applied
        .iter()
        .find(|name| known.iter().all(|migration| migration.name != **name));
    match unknown {
        Some(migration) => Err(OpenError::Newer {
            migration: migration.clone(),
        }),
        None => Ok(applied),
    }
}

async fn applied(connection: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let table = if backend == DbBackend::Postgres {
        "SELECT to_regclass('seaql_migrations')::text AS name"
    } else {
        "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'"
    };
    let found = connection
        .query_one_raw(Statement::from_string(backend, table))
        .await?
        .map(|row| row.try_get::<Option<String>>("", "name"))
        .transpose()?
        .flatten();
    if found.is_none() {
        return Ok(Vec::new());
    }
    let sql = "SELECT version FROM seaql_migrations ORDER BY version";
    connection
        .query_all_raw(Statement::from_string(backend, sql))
        .await?
        .iter()
        .map(|row| row.try_get("", "version"))
        .collect()
}

fn states(applied: &[String]) -> Vec<MigrationState> {
    Migrator::get_migration_files()
        .iter()
        .map(|migration| MigrationState {
            name: migration.name().to_owned(),
            is_applied: applied.iter().any(|name| name == migration.name()),
        })
        .collect()
}

async fn open_alone(config: &Config) -> Result<(DaemonLock, DatabaseConnection), OpenError> {
    let address = Address::parse(&config.database)?;
    let refused = |error| match error {
        Unlocked::Refused(error) => error,
        Unlocked::Away(error) => unreachable_now(error),
    };
    address.pools(&config.database).await.map_err(refused)?;
    let lock = DaemonLock::take(&address).await.map_err(refused)?;
    let writer = address.connect_writer().await;
    let writer = writer.map_err(|error| refused(address.away(error)))?;
    Ok((lock, writer))
}

async fn close(lock: &DaemonLock, writer: &DatabaseConnection) {
    // Everything is committed, so a failed close loses nothing.
    let _ = writer.close_by_ref().await;
    lock.release().await;
}

fn unreachable_now(error: DbErr) -> OpenError {
    OpenError::Unreachable {
        within: WRITER_ACQUIRE,
        cause: Cause::from(error),
    }
}

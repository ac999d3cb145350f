//! Keeps a second daemon away from the database.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use tracing::{error, info};

use super::OpenError;
use super::address::Address;
use super::error::Cause;

/// The key of the advisory lock: "holdfast" in ASCII.
const LOCK_KEY: i64 = 0x686f_6c64_6661_7374;

/// Held for as long as the daemon uses the database.
pub(super) enum DaemonLock {
    /// The system releases it when the process ends, however it ends.
    File(#[expect(dead_code, reason = "held, never read")] File),
    /// PostgreSQL releases it when the connection ends.
    Advisory {
        connection: DatabaseConnection,
        is_held: AtomicBool,
    },
}

/// Why the lock was not taken.
pub(super) enum Unlocked {
    /// It will not be free soon.
    Refused(OpenError),
    /// The database cannot be reached.
    Away(DbErr),
}

impl DaemonLock {
    pub(super) async fn take(address: &Address) -> Result<DaemonLock, Unlocked> {
        match address {
            Address::Sqlite(path) => lock_file(path).map_err(Unlocked::Refused),
            Address::Postgres(_) => {
                let connection = address.connect_single().await.map_err(Unlocked::Away)?;
                if try_advisory(&connection).await.map_err(Unlocked::Away)? {
                    Ok(DaemonLock::Advisory {
                        connection,
                        is_held: AtomicBool::new(true),
                    })
                } else {
                    Err(Unlocked::Refused(OpenError::DatabaseInUse))
                }
            }
        }
    }

    /// Whether this daemon may write. False once another one has taken the database over.
    pub(super) fn is_held(&self) -> bool {
        match self {
            DaemonLock::File(_) => true,
            DaemonLock::Advisory { is_held, .. } => is_held.load(Ordering::Acquire),
        }
    }

    /// Takes the lock again if its connection was lost. A session that has it gets it again at once.
    pub(super) async fn renew(&self) -> Result<(), Cause> {
        let DaemonLock::Advisory {
            connection,
            is_held,
        } = self
        else {
            return Ok(());
        };
        let holds = try_advisory(connection).await?;
        let held = is_held.swap(holds, Ordering::AcqRel);
        if held && !holds {
            error!("another daemon has taken the database over; writes are refused");
        } else if holds && !held {
            info!("the database's lock is held again; writes go on");
        }
        Ok(())
    }

    pub(super) async fn release(&self) {
        if let DaemonLock::Advisory { connection, .. } = self {
            // A connection that cannot be closed is closed already.
            let _ = connection.close_by_ref().await;
        }
    }
}

async fn try_advisory(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    let sql = "SELECT pg_try_advisory_lock($1) AS held";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [LOCK_KEY.into()]);
    match connection.query_one_raw(statement).await? {
        Some(row) => row.try_get("", "held"),
        None => Ok(false),
    }
}

fn lock_file(database: &Path) -> Result<DaemonLock, OpenError> {
    if let Some(folder) = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|cause| OpenError::File {
            path: folder.to_owned(),
            cause,
        })?;
    }
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = Path::new(&path);
    let file_error = |cause| OpenError::File {
        path: path.to_owned(),
        cause,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(file_error)?;
    match file.try_lock() {
        Ok(()) => Ok(DaemonLock::File(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::FileInUse {
            path: database.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(file_error(cause)),
    }
}

//! The daemon lock, which keeps a second daemon away from the database.
//!
//! On SQLite it is a locked file. On PostgreSQL it is an advisory lock, held by a connection of its own that is
//! checked regularly. If that connection is lost, the daemon takes the lock again, or refuses writes if another
//! daemon has it.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::address::{Address, WRITER_NAME};
use super::backoff::Backoff;
use super::file_lock::lock_file;
use crate::persistence::OpenError;

/// The key of the advisory lock: "holdfast" in ASCII.
const LOCK_KEY: i64 = 0x686f_6c64_6661_7374;

/// How long the lock's connection may take to answer before it counts as dead. Shorter than the wait for a
/// connection, so that a stuck one is replaced.
const RENEW_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one attempt to open the database waits for the writers of a killed daemon to end. A session ends at once,
/// unless it waits for a disk.
const WRITERS_END_TIMEOUT: Duration = Duration::from_secs(10);

/// The lock, held while the daemon uses the database.
pub(crate) enum DaemonLock {
    /// The system releases it when the process ends, however it ends.
    File(#[expect(dead_code, reason = "held, never read")] File),
    /// PostgreSQL releases it when the connection ends.
    Advisory(Advisory),
}

pub(crate) struct Advisory {
    address: Address,
    session: Mutex<Session>,
    is_held: AtomicBool,
}

/// The connection that holds the lock, and its server process.
struct Session {
    connection: DatabaseConnection,
    process: i32,
}

/// The reason why the lock was not taken.
pub(crate) enum Unlocked {
    /// Waiting is unlikely to help.
    Refused(OpenError),
    /// The database cannot be reached.
    Away(DbErr),
}

/// The result of an attempt to take the lock.
enum Try {
    Held {
        process: i32,
    },
    /// The server process that holds it. None if it was released before this was asked.
    HeldBy(Option<i32>),
}

impl DaemonLock {
    pub(crate) async fn take(address: &Address) -> Result<DaemonLock, Unlocked> {
        match address {
            Address::Sqlite(path) => match lock_file(path).await {
                Ok(file) => Ok(DaemonLock::File(file)),
                Err(error) => Err(Unlocked::Refused(error)),
            },
            Address::Postgres(_) => {
                let connection = address.connect_single().await;
                let connection = connection.map_err(|error| address.away(error))?;
                match try_advisory(&connection).await.map_err(Unlocked::Away)? {
                    Try::Held { process } => {
                        let ended = end_writers(&connection).await;
                        ended.map_err(Unlocked::Away)?;
                        Ok(DaemonLock::Advisory(Advisory {
                            address: address.clone(),
                            session: Mutex::new(Session {
                                connection,
                                process,
                            }),
                            is_held: AtomicBool::new(true),
                        }))
                    }
                    Try::HeldBy(_) => Err(Unlocked::Refused(OpenError::DatabaseInUse)),
                }
            }
        }
    }

    /// Returns whether this daemon may write. False once another daemon has taken over the database.
    pub(crate) fn is_held(&self) -> bool {
        match self {
            DaemonLock::File(_) => true,
            DaemonLock::Advisory(advisory) => advisory.is_held.load(Ordering::Acquire),
        }
    }

    /// Checks the lock, and takes it again if its connection was lost.
    pub(crate) async fn renew(&self) {
        match self {
            DaemonLock::File(_) => {}
            DaemonLock::Advisory(advisory) => advisory.renew().await,
        }
    }

    pub(crate) async fn release(&self) {
        match self {
            DaemonLock::File(_) => {}
            DaemonLock::Advisory(advisory) => {
                let session = advisory.session.lock().await;
                // The server notices a closed connection a little later, and a successor may ask before. If the
                // unlock fails, the lock ends with its connection.
                let unlock = session
                    .connection
                    .execute_unprepared("SELECT pg_advisory_unlock_all()");
                let _ = tokio::time::timeout(RENEW_TIMEOUT, unlock).await;
                // A connection that cannot be closed is closed already.
                let _ = session.connection.close_by_ref().await;
            }
        }
    }
}

impl Advisory {
    async fn renew(&self) {
        let mut session = self.session.lock().await;
        let connection = session.connection.clone();
        let mut task = tokio::spawn(async move { try_advisory(&connection).await });
        match tokio::time::timeout(RENEW_TIMEOUT, &mut task).await {
            Ok(Ok(Ok(Try::Held { process }))) => {
                session.process = process;
                self.set_held(true);
            }
            Ok(Ok(Ok(Try::HeldBy(Some(process))))) if process == session.process => {
                warn!("the lost connection still holds the database's lock; terminating it");
                if let Err(error) = terminate(&session.connection, process).await {
                    warn!(%error, "the lost connection could not be terminated");
                }
            }
            Ok(Ok(Ok(Try::HeldBy(Some(_))))) => self.set_held(false),
            // It was released just now.
            Ok(Ok(Ok(Try::HeldBy(None)))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the database's lock could not be checked"),
            Ok(Err(_)) => warn!("the check of the database's lock panicked"),
            Err(_) => {
                task.abort();
                match self.address.connect_single_lazily().await {
                    Ok(connection) => {
                        let old = std::mem::replace(&mut session.connection, connection);
                        Address::let_go(old);
                    }
                    Err(error) => warn!(%error, "no connection for the database's lock"),
                }
            }
        }
    }

    fn set_held(&self, is_held: bool) {
        let was_held = self.is_held.swap(is_held, Ordering::AcqRel);
        if was_held && !is_held {
            error!("another daemon has taken the database over; writes are refused");
        } else if is_held && !was_held {
            info!("the database's lock is held again; writes go on");
        }
    }
}

/// Tries to take the lock. A session that has it gets it again at once, so this also checks whether it still has it.
async fn try_advisory(connection: &DatabaseConnection) -> Result<Try, DbErr> {
    let sql = "SELECT pg_try_advisory_lock($1), pg_backend_pid()";
    let row = connection
        .query_one_raw(postgres(sql, [LOCK_KEY.into()]))
        .await?;
    if let Some(row) = row
        && row.try_get_by_index::<bool>(0)?
    {
        return Ok(Try::Held {
            process: row.try_get_by_index(1)?,
        });
    }
    let sql = "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
               WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database() \
               AND l.classid::int8 = $1 AND l.objid::int8 = $2 AND l.objsubid = 1";
    let halves = [(LOCK_KEY >> 32).into(), (LOCK_KEY & 0xffff_ffff).into()];
    let holder = connection.query_one_raw(postgres(sql, halves)).await?;
    let holder = holder.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(Try::HeldBy(holder))
}

/// Terminates the sessions that the writers of an earlier daemon have left on the server, and waits until they have
/// ended. A killed daemon releases the lock at once, but its last COMMIT may run on while a disk or a standby stalls.
/// The rows of that COMMIT must be there before anything is read.
async fn end_writers(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = current_user \
         AND application_name LIKE '{WRITER_NAME}%' AND pid <> pg_backend_pid()"
    );
    let give_up = Instant::now() + WRITERS_END_TIMEOUT;
    let mut backoff = Backoff::new();
    loop {
        let left = connection.query_all_raw(postgres(&sql, [])).await?.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= give_up {
            let text = "a transaction of the previous daemon has not ended";
            return Err(DbErr::Conn(RuntimeErr::Internal(text.into())));
        }
        info!(left, "terminating the writers of the previous daemon");
        backoff.wait().await;
    }
}

async fn terminate(connection: &DatabaseConnection, process: i32) -> Result<(), DbErr> {
    let sql = "SELECT pg_terminate_backend($1)";
    connection
        .query_one_raw(postgres(sql, [process.into()]))
        .await?;
    Ok(())
}

fn postgres<const N: usize>(sql: &str, values: [sea_orm::Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

//! Locks a SQLite database for one daemon, under whatever name it is opened.
//!
//! The lock is a file next to the database, named after its real path, so a symbolic link leads to the same lock. A
//! hard link is another real path, and there SQLite itself is asked: a daemon holds SQLite's own lock on the file
//! while it runs. It keeps its log under the name that it knows, so two daemons would destroy each other's work.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, SqliteConnection};

use super::private::{PRIVATE, keep_private};
use crate::persistence::OpenError;

/// SQLite's primary codes for a lock held by another process or by another connection of this one.
const BUSY: [u32; 2] = [5, 6];

/// Locks the database, and creates it if it is missing. The system releases the lock when the process ends, however
/// it ends.
pub(crate) async fn lock_file(database: &Path) -> Result<File, OpenError> {
    let folder = database.parent();
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(unusable(folder))?;
    }
    make(database).map_err(unusable(database))?;
    let real = fs::canonicalize(database).map_err(unusable(database))?;
    let mut beside = real.as_os_str().to_owned();
    beside.push(".lock");
    let lock = lock(Path::new(&beside), database)?;
    keep_private(&real).map_err(unusable(database))?;
    let names = fs::metadata(&real).map_err(unusable(database))?.nlink();
    if names > 1 && is_used_by_another_name(&real).await {
        return Err(in_use(database));
    }
    Ok(lock)
}

/// Creates an empty file, which SQLite treats as a new database.
fn make(database: &Path) -> io::Result<()> {
    if database.try_exists()? {
        return Ok(());
    }
    let mut options = File::options();
    options.create(true).append(true).mode(PRIVATE);
    options.open(database).map(drop)
}

fn lock(path: &Path, database: &Path) -> Result<File, OpenError> {
    let mut options = File::options();
    options
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE);
    let file = options.open(path).map_err(unusable(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(database)),
        Err(TryLockError::Error(cause)) => Err(unusable(path)(cause)),
    }
}

/// Returns whether the file is open under another name, where SQLite refuses exclusive use of it. Other problems of
/// the database are found when it is opened.
async fn is_used_by_another_name(database: &Path) -> bool {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(Duration::ZERO);
    let Ok(mut connection) = SqliteConnection::connect_with(&options).await else {
        return false;
    };
    let alone = connection.execute("PRAGMA journal_mode = DELETE").await;
    // Nothing was written that a failed close could lose.
    let _ = connection.close().await;
    alone.is_err_and(|error| is_busy(&error))
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| BUSY.contains(&(code & 0xff)))
}

fn in_use(database: &Path) -> OpenError {
    OpenError::FileInUse {
        path: database.to_owned(),
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |cause| OpenError::File { path, cause }
}

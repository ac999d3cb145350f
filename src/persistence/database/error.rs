//! Errors of the database, and how a caller should react to them.

use std::path::PathBuf;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::Error as SqlxError;

use crate::persistence::Refused;
use crate::supervisor::LoadError;

/// A database error for logs and messages. It contains no URL and no password.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Cause(#[from] DbErr);

/// The reason why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database.url begins with neither sqlite:// nor postgres://, or it names no database")]
    Address,
    #[error("the database could not be reached within {within:?}: {cause}")]
    Unreachable { within: Duration, cause: Cause },
    #[error("the database refuses: {cause}")]
    Refused { cause: Cause },
    #[error(
        "database.url leads through a connection pooler in transaction mode (or statement mode), which shares \
         sessions and would keep the daemon's lock; use the server's own address, or a pooler in session mode"
    )]
    Pooler,
    #[error(
        "the PostgreSQL database is encoded in {found}, which cannot store every name; it must be UTF8 (or SQL_ASCII): \
         CREATE DATABASE .. ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding { found: String },
    #[error("another daemon is using the database {path}")]
    FileInUse { path: PathBuf },
    #[error("another daemon is using this PostgreSQL database")]
    DatabaseInUse,
    #[error("the database's folder or lock file {path} cannot be used: {cause}")]
    File {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{path} is no SQLite database, or a damaged one ({cause}); it was left as it is")]
    Damaged { path: PathBuf, cause: Cause },
    #[error("PostgreSQL {found} is not supported; the oldest supported version is 13")]
    ServerOld { found: i64 },
    #[error("the database is newer than this program: it has the migration {migration}")]
    Newer { migration: String },
    #[error(
        "{count} migrations are pending and database.migrate is false; run `holdfast migrate up`"
    )]
    Pending { count: usize },
    #[error("a migration failed and was rolled back: {0}")]
    Migration(Cause),
}

impl OpenError {
    /// Returns the exit code of a daemon that ends for this reason.
    pub fn exit_code(&self) -> u8 {
        match self {
            OpenError::Address => 78,
            OpenError::Unreachable { .. }
            | OpenError::Refused { .. }
            | OpenError::Pooler
            | OpenError::Encoding { .. }
            | OpenError::FileInUse { .. }
            | OpenError::DatabaseInUse
            | OpenError::File { .. }
            | OpenError::Damaged { .. }
            | OpenError::ServerOld { .. }
            | OpenError::Newer { .. }
            | OpenError::Pending { .. }
            | OpenError::Migration(_) => 69,
        }
    }
}

/// A failed read, which leaves open whether the data exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It may pass: a retry is worth while.
    #[error("the database cannot be read at the moment")]
    Unavailable,
    /// The same read fails again: what is stored cannot be understood, or the query cannot be carried out.
    #[error("the stored data cannot be read")]
    Failed,
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> LoadError {
        match error {
            ReadError::Unavailable => LoadError::Unavailable,
            ReadError::Failed => LoadError::Failed,
        }
    }
}

/// The reason why a write was not answered with its commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Definite: nothing of it is stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Unknown: the change may or may not be stored. Read the stored state before acting on it.
    #[error("the answer was lost; the change may or may not be stored")]
    Lost,
}

/// The disk is full. SQLite has rolled the transaction back by the time it reports this.
const SQLITE_FULL: &str = "13";

/// SQLite's codes for a failed fsync of a file and of a folder.
const SQLITE_SYNC_LOST: [&str; 2] = ["1034", "1290"];

/// SQLite's primary codes for a damaged file and for a file that is not a database.
const SQLITE_DAMAGED: [u32; 2] = [11, 26];

/// The reaction to an error inside a transaction, before its COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It will fail again: find the command that causes it.
    Permanent,
    /// It may pass: try again later.
    Transient,
}

pub(crate) fn classify(error: &DbErr) -> Class {
    match sqlx_error(error) {
        Some(SqlxError::Database(error)) => match error.code() {
            Some(code) => classify_code(&code),
            None => Class::Transient,
        },
        // The driver reports "too many arguments" as a protocol error, which otherwise means a broken connection.
        Some(SqlxError::Protocol(text)) if text.contains("too many") => Class::Permanent,
        Some(
            SqlxError::ColumnDecode { .. }
            | SqlxError::Decode(_)
            | SqlxError::Encode(_)
            | SqlxError::TypeNotFound { .. }
            | SqlxError::ColumnNotFound(_)
            | SqlxError::ColumnIndexOutOfBounds { .. }
            | SqlxError::RowNotFound,
        ) => Class::Permanent,
        Some(_) => Class::Transient,
        None if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => Class::Transient,
        None => Class::Permanent,
    }
}

/// Returns whether a failed COMMIT is known to have stored nothing. All other failures leave it open.
pub(crate) fn is_definite_at_commit(error: &DbErr) -> bool {
    match sqlx_error(error) {
        Some(SqlxError::Database(error)) => match error.code().as_deref() {
            Some("40001" | "40P01" | SQLITE_FULL) => true,
            Some(code) => classify_code(code) == Class::Permanent,
            None => false,
        },
        Some(_) | None => false,
    }
}

/// Returns whether no connection was available in time: the server is away, or the pool's connections hang on a dead
/// link.
pub(crate) fn is_out_of_connections(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_))
        || matches!(sqlx_error(error), Some(SqlxError::PoolTimedOut))
}

/// Returns whether a PostgreSQL server, or its pooler, refused for a reason that waiting does not fix: the login, the
/// database name, a permission, or a connection parameter.
pub(crate) fn is_refusal(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    match error.code().as_deref() {
        Some("3D000" | "42501") => true,
        // A pooler uses this code for all its problems, most of which pass.
        Some("08P01") => error.message().contains("unsupported startup parameter"),
        Some(code) => code.len() == 5 && code.starts_with("28"),
        None => false,
    }
}

/// Returns whether an fsync of SQLite failed. The data may then be lost although each read shows it: the system keeps
/// the pages and counts them as written.
pub(crate) fn is_sync_lost(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    let code = error.code();
    code.is_some_and(|code| SQLITE_SYNC_LOST.contains(&&*code))
}

/// Returns whether the file is damaged or not a database, which waiting does not fix.
pub(crate) fn is_damaged(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    let code = error.code().filter(|code| code.len() < 5);
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| SQLITE_DAMAGED.contains(&(code & 0xff)))
}

fn classify_code(code: &str) -> Class {
    // PostgreSQL: data (22) and constraints (23). Its codes have five characters, SQLite's numbers have fewer.
    if code.len() == 5 {
        return if code.starts_with("22") || code.starts_with("23") {
            Class::Permanent
        } else {
            Class::Transient
        };
    }
    // SQLite: the low byte is the primary code. 1 is an error of the statement, 18 and 20 of a value, 19 a
    // constraint.
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(1 | 18 | 19 | 20) => Class::Permanent,
        Ok(_) | Err(_) => Class::Transient,
    }
}

fn sqlx_error(error: &DbErr) -> Option<&SqlxError> {
    if let DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error)) = error
    {
        Some(error)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[track_caller]
    fn check(code: &str, class: Class) {
        assert_eq!(classify_code(code), class, "{code}");
    }

    #[test]
    fn constraints_are_permanent_and_everything_that_may_pass_is_not() {
        check("23505", Class::Permanent);
        check("22P05", Class::Permanent);
        check("2067", Class::Permanent);
        check("1555", Class::Permanent);
        check("787", Class::Permanent);
        check("40001", Class::Transient);
        check("57P01", Class::Transient);
        check("53100", Class::Transient);
        check("5", Class::Transient);
        check("517", Class::Transient);
        check("13", Class::Transient);
    }

    #[test]
    fn too_many_arguments_is_not_tried_for_ever() {
        let error = SqlxError::Protocol("too many arguments for query".into());
        let error = DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error)));

        assert_eq!(classify(&error), Class::Permanent);
    }
}

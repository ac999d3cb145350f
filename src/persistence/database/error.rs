//! What can go wrong at the door to the database, and what that means for whoever asked.

use std::path::PathBuf;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use sqlx::Error as SqlxError;

use crate::persistence::Refused;

/// An error of the database, for logs and messages. It names no URL and no password.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Cause(#[from] DbErr);

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database.url begins with neither sqlite:// nor postgres://, or it names no database")]
    Address,
    #[error("the database could not be reached within {within:?}: {cause}")]
    Unreachable { within: Duration, cause: Cause },
    #[error("the database refuses: {cause}")]
    Refused { cause: Cause },
    #[error(
        "database.url leads through a connection pooler in transaction mode (or statement mode), where no session is the daemon's \
         own: it would keep the daemon's lock; use the server's own address, or a pooler in session mode"
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
    #[error("PostgreSQL {found} is older than the oldest that is supported, 13")]
    ServerOld { found: i64 },
    #[error("the database is newer than this program: it has the migration {migration}")]
    Newer { migration: String },
    #[error(
        "{count} migrations are pending and database.migrate is false; run `holdfast migrate up`"
    )]
    Pending { count: usize },
    #[error("a migration failed and was taken back: {0}")]
    Migration(Cause),
}

impl OpenError {
    /// The exit code of a daemon that ends for this reason.
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

/// Why something was not read. It says nothing about whether it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the database cannot be read at the moment")]
    Unavailable,
}

/// Why a change was not answered with its commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Definite: nothing of it is stored.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Unknown: it may be stored or not. Read the truth before acting on it.
    #[error("the answer was lost, the change may be stored or not")]
    Lost,
}

/// The disk is full. SQLite has taken the transaction back by the time it says so.
const SQLITE_FULL: &str = "13";

/// SQLite's codes for an fsync of a file, and of a folder, that failed.
const SQLITE_SYNC_LOST: [&str; 2] = ["1034", "1290"];

/// SQLite's primary codes for a file whose contents make no sense to it, and for one that is none of its.
const SQLITE_DAMAGED: [u32; 2] = [11, 26];

/// What an error inside a transaction, before its COMMIT, asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It will fail again: find the command that causes it.
    Permanent,
    /// It may pass: again later.
    Transient,
}

pub(crate) fn classify(error: &DbErr) -> Class {
    match sqlx_error(error) {
        Some(SqlxError::Database(error)) => match error.code() {
            Some(code) => classify_code(&code),
            None => Class::Transient,
        },
        // "too many arguments" comes as a protocol error, and looks like a line fault.
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

/// Whether a failed COMMIT is known to have stored nothing. All other failures leave it open.
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

/// Whether no connection could be had in time: the server is away, or the pool's connections are stuck
/// on a line that is dead.
pub(crate) fn is_out_of_connections(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_))
        || matches!(sqlx_error(error), Some(SqlxError::PoolTimedOut))
}

/// Whether a PostgreSQL server, or a pooler before it, has refused for a reason that waiting does not mend: the login, the
/// database's name, a right, or a parameter of the connection.
pub(crate) fn is_refusal(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    match error.code().as_deref() {
        Some("3D000" | "42501") => true,
        // What a pooler says of all its troubles, most of which pass.
        Some("08P01") => error.message().contains("unsupported startup parameter"),
        Some(code) => code.len() == 5 && code.starts_with("28"),
        None => false,
    }
}

/// Whether an fsync of SQLite failed. What was to be written may then be lost although each read shows it: the system keeps
/// the pages, and takes them for written.
pub(crate) fn is_sync_lost(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    let code = error.code();
    code.is_some_and(|code| SQLITE_SYNC_LOST.contains(&&*code))
}

/// Whether the file is damaged or no database at all, which waiting does not mend.
pub(crate) fn is_damaged(error: &DbErr) -> bool {
    let Some(SqlxError::Database(error)) = sqlx_error(error) else {
        return false;
    };
    let code = error.code().filter(|code| code.len() < 5);
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| SQLITE_DAMAGED.contains(&(code & 0xff)))
}

fn classify_code(code: &str) -> Class {
    // PostgreSQL: data (22) and constraints (23). Five characters tell them from SQLite's numbers.
    if code.len() == 5 {
        return if code.starts_with("22") || code.starts_with("23") {
            Class::Permanent
        } else {
            Class::Transient
        };
    }
    // SQLite: the low byte is the primary code; 1 is an error of the statement, 18 and 20 of a value,
    // 19 a constraint.
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

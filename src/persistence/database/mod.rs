//! The database itself: address, lock, schema, connections, and the meaning of its errors.

pub(crate) mod address;
pub(crate) mod backoff;
pub(crate) mod error;
mod file_lock;
pub(crate) mod lock;
mod private;
pub(crate) mod publication_rows;
pub(crate) mod readers;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod transaction;

pub use error::{Cause, OpenError, ReadError, WriteError};
pub use schema::{MigrationState, migrate_down, migrate_status, migrate_up};

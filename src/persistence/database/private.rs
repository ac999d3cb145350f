//! Permissions of SQLite's files. They contain names, messages, responses and token hashes, so nobody else may read
//! them.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::config::{create_private_file, make_private};

/// Read and write for the owner, nothing for others.
pub(crate) const PRIVATE: u32 = 0o600;

/// The suffixes of files next to a database: SQLite's log, its index, the journal of other modes, and the hub's lock.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// Makes the database private to this user (mode 600), whatever the umask and the folder allow. SQLite gives the
/// files that it creates next to a database the mode of the database.
pub(crate) fn keep_private(database: &Path) -> io::Result<()> {
    match create_private_file(database) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => tighten(database),
        Err(error) => return Err(error),
    }
    for suffix in BESIDE {
        tighten(&beside(database, suffix));
    }
    Ok(())
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path: OsString = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Restricts one file. A file of another owner stays as it is: the hub works with it, and logs a warning.
fn tighten(path: &Path) {
    match make_private(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "others may read this file, and its mode cannot be changed");
        }
        Ok(()) | Err(_) => {}
    }
}

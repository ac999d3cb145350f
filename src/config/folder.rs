//! The data folder: private to this user, and checked for use before anything relies on it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Config;

/// The folder holds secrets that open every door of the hub, so other users have no access.
const FOLDER_MODE: u32 = 0o700;

/// The same for a file.
const FILE_MODE: u32 = 0o600;

/// The rights of everyone but the owner.
const OTHERS: u32 = 0o077;

/// The reason why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot make the data folder {}: {source}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("the data folder {} is not a folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error("cannot write into the data folder {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Config {
    /// Creates the data folder if it is missing (mode 700), and tries to write into it.
    ///
    /// Without `--dev` it creates the last part of the path only: a typo in the path must not start an empty hub.
    pub fn prepare_data_folder(&self) -> Result<(), FolderError> {
        let path = &self.data_dir;
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(FolderError::NotAFolder { path: path.clone() });
            }
            Ok(_) => {}
            Err(_) => DirBuilder::new()
                .recursive(self.dev)
                .mode(FOLDER_MODE)
                .create(path)
                .map_err(|source| FolderError::Make {
                    path: path.clone(),
                    source,
                })?,
        }
        try_to_write(path).map_err(|source| FolderError::Write {
            path: path.clone(),
            source,
        })?;
        warn_if_open(path);
        Ok(())
    }
}

/// Warns if others have access to the folder. The hub's files are private everywhere, but others could replace or
/// remove them there.
fn warn_if_open(folder: &Path) {
    let Ok(found) = fs::metadata(folder) else {
        return;
    };
    let mode = found.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        tracing::warn!(
            folder = %folder.display(),
            mode = format_args!("{mode:o}"),
            "the data folder is open to other users of this machine; mode 700 keeps them out"
        );
    }
}

/// Creates a file that only this user may read (mode 600), if there is none of that name.
pub(crate) fn create_private_file(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Returns the text of a private file in the folder. If there is no such file, `fresh` is stored there (mode 600),
/// whole or not at all. A file that others may read is made private.
pub(crate) fn own_file(folder: &Path, name: &str, fresh: &str) -> io::Result<String> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            keep(folder, &path, fresh).map(|()| fresh.to_owned())
        }
        Ok(text) => {
            if let Err(error) = make_private(&path) {
                tracing::warn!(path = %path.display(), %error, "other users may read this file: chmod failed");
            }
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// Removes the rights of everyone else from an existing file.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let rights = fs::metadata(path)?.permissions();
    match rights.mode() & OTHERS {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(FILE_MODE)),
    }
}

/// Stores a file whole or not at all: half a key would stop every later start.
fn keep(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = create_private_file(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    fs::File::open(folder)?.sync_all()
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    // The process id tells apart two daemons that start at once.
    let probe = folder.join(format!(".write-{}", std::process::id()));
    match create_private_file(&probe) {
        Ok(_) => {}
        // Left by a process of the same id that died here: the folder was writable.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    fs::remove_file(&probe)
}

//! The data folder: made for this user only, and found out to be usable before anything relies on it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Config;

/// What is in the folder opens every door of the hub: nobody else may look.
const FOLDER_MODE: u32 = 0o700;

/// As for the folder.
const FILE_MODE: u32 = 0o600;

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Why the data folder cannot be used.
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
    /// Makes the data folder if it is missing (mode 700), and tries to write into it.
    ///
    /// Without `--dev` only its last part is made: a slip in the path must not start an empty hub.
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

/// The files of the hub are private wherever they are; in a folder of others they can still be replaced or removed.
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

/// Makes a file that only this user may read (mode 600), if there is none of that name.
pub(crate) fn create_private_file(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// The text in a private file of the folder. `fresh` is kept there (mode 600), whole or not at all, if there is no such
/// file yet; one that others may read is made private.
pub(crate) fn own_file(folder: &Path, name: &str, fresh: &str) -> io::Result<String> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            keep(folder, &path, fresh).map(|()| fresh.to_owned())
        }
        Ok(text) => {
            if let Err(error) = make_private(&path) {
                tracing::warn!(path = %path.display(), %error, "others may read this file, and cannot be kept from it");
            }
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// Takes the rights of everybody else from a file that is there.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let rights = fs::metadata(path)?.permissions();
    match rights.mode() & OTHERS {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(FILE_MODE)),
    }
}

/// Half a key would stop every later start.
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
    // The process id keeps two daemons that start at once apart.
    let probe = folder.join(format!(".write-{}", std::process::id()));
    match create_private_file(&probe) {
        Ok(_) => {}
        // Left by a process of the same id that died in between: the folder was writable.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    fs::remove_file(&probe)
}

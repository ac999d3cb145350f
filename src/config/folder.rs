//! The data folder: made for this user only, and found out to be usable before anything relies on it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Config;

/// What is in the folder opens every door of the hub: nobody else may look.
const FOLDER_MODE: u32 = 0o700;

/// As for the folder.
const FILE_MODE: u32 = 0o600;

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
        })
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

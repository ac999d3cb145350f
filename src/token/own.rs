//! The key that the hub makes itself at its first start, as a file in the data folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::key::KeyError;
use crate::config::create_private_file;

const FILE: &str = "seat_token.pem";

/// The key in the folder with its origin; `fresh` is kept there (mode 600) if there is none.
pub fn own_key_file(folder: &Path, fresh: &str) -> Result<(String, String), KeyError> {
    let path = folder.join(FILE);
    let key = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            keep(folder, &path, fresh).map(|()| fresh.to_owned())
        }
        read => read,
    };
    let origin = path.display().to_string();
    key.map(|key| (key, origin))
        .map_err(|source| KeyError::Own { path, source })
}

/// Whole or not at all: half a key would stop every later start.
fn keep(folder: &Path, path: &Path, key: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = create_private_file(&unfinished)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::token::new_key;

    #[test]
    fn the_key_is_made_once_and_is_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(path.with_extension("new"), "half a k").unwrap();

        let (first, _) = own_key_file(folder.path(), &new_key()).unwrap();
        let (second, origin) = own_key_file(folder.path(), &new_key()).unwrap();

        assert_eq!(first, second);
        assert_eq!(origin, path.display().to_string());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

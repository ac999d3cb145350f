//! The hub's own key, generated at its first start, as a file in the data folder.

use std::path::Path;

use super::key::KeyError;
use crate::config::own_file;

const FILE: &str = "seat_token.pem";

/// Returns the key in the folder, with its origin; stores `fresh` there (mode 600) if there is none.
pub fn own_key_file(folder: &Path, fresh: &str) -> Result<(String, String), KeyError> {
    let path = folder.join(FILE);
    let origin = path.display().to_string();
    own_file(folder, FILE, fresh)
        .map(|key| (key, origin))
        .map_err(|source| KeyError::Own { path, source })
}

#[cfg(test)]
mod tests {
    use std::fs;
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

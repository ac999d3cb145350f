//! The path of a SQLite database in a URL, written and read by one rule.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

/// Characters that would end the path or change its meaning. Everything outside ASCII is escaped as well.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b':');

/// Escapes a path for use in a URL.
pub(crate) fn in_url(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), ESCAPED).to_string()
}

/// Reads the path in a `sqlite://` URL. `None` if it is another URL, or names no file.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split('?').next().unwrap_or(path);
    // SQLite's own names for temporary databases begin with a colon.
    if path.is_empty() || path.starts_with(':') {
        return None;
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    // No file name contains a zero byte.
    let is_name = !bytes.contains(&0);
    is_name.then(|| OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_that_is_written_is_read_back() {
        let not_utf8 = OsString::from_vec(b"/srv/\xff/holdfast.db".to_vec());
        let paths = [
            "data/holdfast.db",
            "/srv/a#b/holdfast.db",
            "/srv/a?b=c&d/holdfast.db",
            "/srv/100%/holdfast.db",
            "/srv/a%23b/holdfast.db",
            "/srv/a%2Fb/holdfast.db",
            "/srv/a b/é/雪/holdfast.db",
            ":x/holdfast.db",
        ];
        let paths = paths.map(PathBuf::from);
        for path in paths.into_iter().chain([not_utf8.into()]) {
            let url = format!("sqlite://{}", in_url(&path));
            assert_eq!(sqlite_path(&url), Some(path), "{url}");
        }
    }

    #[test]
    fn an_address_written_by_hand_may_leave_a_percent_sign_as_it_is() {
        let path = sqlite_path("sqlite:///srv/100%/holdfast.db?mode=rwc");
        assert_eq!(path, Some("/srv/100%/holdfast.db".into()));
    }

    #[test]
    fn what_names_no_file_is_refused() {
        let vanishing = ["sqlite::memory:", "sqlite://:memory:"];
        let nameless = [
            "mysql://db/hub",
            "",
            "sqlite://",
            "sqlite://?a",
            "sqlite://a%00b",
        ];
        for url in vanishing.into_iter().chain(nameless) {
            assert_eq!(sqlite_path(url), None, "{url}");
        }
    }
}

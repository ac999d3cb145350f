//! The place of the key set for the game's own login.

use std::path::PathBuf;

use http::Uri;

/// A file or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySetSource {
    File(PathBuf),
    Url(Uri),
}

impl KeySetSource {
    pub(crate) const ALLOWED: &'static str = "an address beginning with \"https://\", \"http://\" or \
        \"file:///\", or a path beginning with \"/\" or \"./\"";

    /// Parses a setting; `None` if it is neither.
    pub(crate) fn parse(text: &str) -> Option<KeySetSource> {
        if let Some(path) = text.strip_prefix("file://") {
            return path.starts_with('/').then(|| KeySetSource::file(path));
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return Some(KeySetSource::file(text));
        }
        let uri: Uri = text.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        (is_web && has_host).then_some(KeySetSource::Url(uri))
    }

    fn file(path: &str) -> KeySetSource {
        KeySetSource::File(PathBuf::from(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_is_a_file_or_a_web_address() {
        let file = |path: &str| Some(KeySetSource::file(path));
        assert_eq!(KeySetSource::parse("file:///etc/keys"), file("/etc/keys"));
        assert_eq!(KeySetSource::parse("/etc/keys"), file("/etc/keys"));
        assert_eq!(KeySetSource::parse("./keys"), file("./keys"));
        for url in ["http://127.0.0.1:80/keys", "https://game.example/keys?a=b"] {
            assert!(
                matches!(KeySetSource::parse(url), Some(KeySetSource::Url(_))),
                "{url}"
            );
        }
        for wrong in [
            "game.example/keys",
            "keys.json",
            "file://keys.json",
            "ftp://game.example/keys",
            "https://",
            "https:///keys",
            "https://a b/keys",
        ] {
            assert_eq!(KeySetSource::parse(wrong), None, "{wrong}");
        }
    }
}

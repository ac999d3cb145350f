//! The `Idempotency-Key` header.

use axum::http::HeaderMap;
use axum::http::header::HeaderName;

use crate::id::CommandKey;
use crate::wire::{Refusal, command_key};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Reads the key, with or without the quotes that the header's draft requires.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<CommandKey>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    // Invalid text is refused for its characters, like any other wrong key.
    let text = value.to_str().unwrap_or("\0");
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    command_key(quoted.unwrap_or(text))
        .map(Some)
        .map_err(|refusal| Refusal::bad_request(format!("Idempotency-Key: {}", refusal.detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &[u8]) -> Result<Option<CommandKey>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, value.try_into().unwrap());
        read(&headers).map_err(|refusal| refusal.detail.into_owned())
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes() {
        assert_eq!(read(&HeaderMap::new()), Ok(None));
        assert_eq!(key(b"\"k-1\""), key(b"k-1"));
        assert!(key(b"k-1").unwrap().is_some());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        assert!(key(b"").unwrap_err().contains("must not be empty"));
        assert!(key(b"\"\"").unwrap_err().contains("must not be empty"));
        assert!(key(&[b'x'; 129]).unwrap_err().contains("at most 128"));
        assert!(key(b"a b").unwrap_err().contains("visible ASCII"));
        assert!(key(b"\xff").unwrap_err().contains("visible ASCII"));
    }
}

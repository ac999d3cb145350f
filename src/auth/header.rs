//! The header of a signed token, which shows its kind and its key. It proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::id::SESSION_TOKEN_PREFIX;

/// The `typ` of a seat token.
const SEAT_TYPE: &str = "seat+jwt";

/// The kind of a token, by its form alone: nothing is verified yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A session token of the hub.
    Session,
    /// A seat token, signed by the hub.
    Seat,
    /// Anything else: a JWT of the game's own login, or nothing.
    Login,
}

/// Returns the kind of a token.
pub fn token_kind(token: &str) -> TokenKind {
    if token.starts_with(SESSION_TOKEN_PREFIX) {
        return TokenKind::Session;
    }
    match Header::read(token) {
        Some(header) if header.is_seat() => TokenKind::Seat,
        Some(_) | None => TokenKind::Login,
    }
}

/// The fields of a header that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    /// Text, so that an unknown algorithm is not mistaken for a malformed token.
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl Header {
    /// Reads the header of a token of three parts.
    pub(super) fn read(token: &str) -> Option<Header> {
        let (header, rest) = token.split_once('.')?;
        if rest.split('.').count() != 2 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(header).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Returns true if the token requires an extension. The hub supports none.
    pub(super) fn is_extended(&self) -> bool {
        self.crit.is_some()
    }

    fn is_seat(&self) -> bool {
        self.typ
            .as_deref()
            .is_some_and(|typ| typ.eq_ignore_ascii_case(SEAT_TYPE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn a_token_is_told_by_its_form() {
        let session = crate::id::SessionToken::random();
        assert_eq!(token_kind(session.reveal()), TokenKind::Session);
        for typ in ["seat+jwt", "SEAT+JWT"] {
            let seat = token(&format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#));
            assert_eq!(token_kind(&seat), TokenKind::Seat, "{typ}");
        }
        for login in [
            token(r#"{"alg":"HS256","typ":"JWT"}"#),
            token(r#"{"alg":"HS256"}"#),
            token("7"),
            String::new(),
            "a.b.c".to_owned(),
            "hello".to_owned(),
            format!("{}.d", token(r#"{"alg":"EdDSA","typ":"seat+jwt"}"#)),
        ] {
            assert_eq!(token_kind(&login), TokenKind::Login, "{login}");
        }
    }
}

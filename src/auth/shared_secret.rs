//! Secrets that operators and game servers share with the hub: the admin token and the API keys.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A secret that is only ever compared. Holds its digest, so all comparisons are equally long.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn new(secret: &SecretString) -> Secret {
        Secret(Sha256::digest(secret.expose_secret().as_bytes()).into())
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        self.0.ct_eq(&Sha256::digest(text)).into()
    }

    /// Returns whether one of `known` is `text`, in a time that does not depend on which.
    pub(crate) fn is_any(known: &[Secret], text: &[u8]) -> bool {
        let digest = Sha256::digest(text);
        let any = |found: Choice, known: &Secret| found | known.0.ct_eq(&digest);
        known.iter().fold(Choice::from(0), any).into()
    }
}

/// The secret behind `Bearer`, if the request came with an `Authorization` of that scheme.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    authorization(headers, "bearer")
}

/// The secret of an `Authorization` of this scheme.
pub(crate) fn authorization<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(secret.trim())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

//! A key for seat tokens, from a file in PEM form.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use crate::id::random_bytes;

/// The bytes before the 32 secret bytes of an Ed25519 key in PKCS#8.
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The reason why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the seat-token key {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot read or make the hub's own seat-token key {}: {source}", path.display())]
    Own { path: PathBuf, source: io::Error },
    #[error(
        "{origin} is no Ed25519 key in PEM form; `openssl genpkey -algorithm ed25519` makes one"
    )]
    NotAKey { origin: String },
    #[error(
        "{origin} is a public key: the first of seat_token.keys signs, so it must be a private one"
    )]
    SignsNothing { origin: String },
    #[error("{origin} is in seat_token.keys twice")]
    Twice { origin: String },
}

/// A key that verifies tokens and, if it is a private one, signs them.
pub(super) struct Key {
    pub(super) kid: String,
    pub(super) public: Jwk,
    pub(super) check: DecodingKey,
    pub(super) sign: Option<EncodingKey>,
}

/// Returns a new private key in PEM form.
pub fn new_key() -> String {
    let secret = random_bytes::<32>();
    let text = STANDARD.encode([PKCS8_HEAD.as_slice(), &secret].concat());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

impl Key {
    /// Reads a private or a public key. Its `kid` is its thumbprint ([RFC
    /// 7638](https://www.rfc-editor.org/rfc/rfc7638)), so that it is the same wherever the key is read.
    pub(super) fn read(pem: &str, origin: &str) -> Result<Key, KeyError> {
        let sign = EncodingKey::from_ed_pem(pem.as_bytes()).ok();
        let parts = match &sign {
            Some(sign) => Jwk::from_encoding_key(sign, Algorithm::EdDSA),
            None => DecodingKey::from_ed_pem(pem.as_bytes())
                .and_then(|check| Jwk::from_decoding_key(&check, Some(Algorithm::EdDSA))),
        }
        .and_then(|public| {
            let kid = public.thumbprint(ThumbprintHash::SHA256)?;
            Ok((kid, DecodingKey::from_jwk(&public)?, public))
        });
        let (kid, check, mut public) = parts.map_err(|_| KeyError::NotAKey {
            origin: origin.to_owned(),
        })?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Key {
            kid,
            public,
            check,
            sign,
        })
    }
}

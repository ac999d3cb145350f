//! The login of a game: keys of its own, and the tokens that it signs with them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// One key, and whoever signs with it.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: Option<String>,
    /// What a hub is given: PEM, or the secret itself.
    public: String,
}

impl Issuer {
    /// Signs with a secret that it shares with the hub.
    pub(crate) fn secret(algorithm: Algorithm, secret: &str) -> Issuer {
        Issuer {
            algorithm,
            key: EncodingKey::from_secret(secret.as_bytes()),
            kid: None,
            public: secret.to_owned(),
        }
    }

    pub(crate) fn rsa(algorithm: Algorithm) -> Issuer {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let private = pem("PRIVATE KEY", private.as_ref());
        let key = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        Issuer::pair(algorithm, key, public.as_ref())
    }

    /// Of the curve that the algorithm names.
    pub(crate) fn ec(algorithm: Algorithm) -> Issuer {
        let curve: &'static EcdsaSigningAlgorithm = match algorithm == Algorithm::ES256 {
            true => &ECDSA_P256_SHA256_FIXED_SIGNING,
            false => &ECDSA_P384_SHA384_FIXED_SIGNING,
        };
        let private = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, private.as_ref()).unwrap();
        let key = EncodingKey::from_ec_der(private.as_ref());
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        Issuer::pair(algorithm, key, public.as_ref())
    }

    pub(crate) fn ed() -> Issuer {
        let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private.as_ref()).unwrap();
        let key = EncodingKey::from_ed_der(private.as_ref());
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        Issuer::pair(Algorithm::EdDSA, key, public.as_ref())
    }

    fn pair(algorithm: Algorithm, key: EncodingKey, public: &[u8]) -> Issuer {
        Issuer {
            algorithm,
            key,
            kid: None,
            public: pem("PUBLIC KEY", public),
        }
    }

    /// Names its key in what it signs.
    pub(crate) fn named(mut self, kid: &str) -> Issuer {
        self.kid = Some(kid.to_owned());
        self
    }

    /// Does not name its key.
    pub(crate) fn nameless(mut self) -> Issuer {
        self.kid = None;
        self
    }

    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The value of `auth.public_keys` with this key alone.
    pub(crate) fn public_keys(&self) -> String {
        json!([self.public]).to_string()
    }

    /// Its public key as an entry of a key set.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id.clone_from(&self.kid);
        serde_json::to_value(jwk).unwrap()
    }

    pub(crate) fn signs(&self, claims: Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.kid);
        encode(&header, &claims, &self.key).unwrap()
    }

    /// A token for this user that is good for an hour.
    pub(crate) fn lets_in(&self, user: &str) -> String {
        self.signs(json!({ "sub": user, "exp": in_seconds(3600) }))
    }
}

/// A token with this header and a signature that is none.
pub(crate) fn unsigned(header: Value, claims: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// The moment in so many seconds, as tokens write it.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

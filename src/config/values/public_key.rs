//! A public key of the game's own login: its algorithms, and a check that it is usable.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

/// Shorter RSA keys can be broken, and the library refuses their signatures.
const RSA_BITS_MIN: usize = 2048;

/// A key that verifies signatures, with its algorithms: the key decides them, never a token.
#[derive(Debug, Clone)]
pub struct PublicKey {
    pub key: DecodingKey,
    pub algorithms: &'static [Algorithm],
}

/// The reason why a key is unusable. Contains nothing of the key itself: it may be a private one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error("is a private key; give its public half, as `openssl pkey -pubout` prints it")]
    Private,
    #[error("is a certificate; give its public key, as `openssl x509 -noout -pubkey` prints it")]
    Certificate,
    #[error("cannot be read as a public key in PEM form (`-----BEGIN PUBLIC KEY-----`)")]
    Unreadable,
    #[error("is of a type that is not supported; RSA, P-256, P-384 and Ed25519 are")]
    Type,
    #[error("is an RSA key of {bits} bits; it needs at least {RSA_BITS_MIN}")]
    Short { bits: usize },
}

impl PublicKey {
    /// Reads one key in PEM form.
    pub fn from_pem(pem: &str) -> Result<PublicKey, PublicKeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(PublicKeyError::Private);
        }
        if pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(PublicKeyError::Certificate);
        }
        if !pem.contains("-----BEGIN ") {
            return Err(PublicKeyError::Unreadable);
        }
        let pem = pem.trim().as_bytes();
        // The first two parsers refuse keys of another type; the parser for RSA accepts any key.
        DecodingKey::from_ec_pem(pem)
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .or_else(|_| DecodingKey::from_rsa_pem(pem))
            .map_err(|_| PublicKeyError::Unreadable)
            .and_then(PublicKey::checked)
    }

    /// Reads one key of a key set. Symmetric keys are refused, because a set is public.
    pub fn from_jwk(jwk: &Jwk) -> Result<PublicKey, PublicKeyError> {
        let is_symmetric = matches!(&jwk.algorithm, AlgorithmParameters::OctetKey(_));
        let is_for_exchange = matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(pair)
            if pair.curve != EllipticCurve::Ed25519);
        if is_symmetric || is_for_exchange {
            return Err(PublicKeyError::Type);
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|_| PublicKeyError::Unreadable)?;
        PublicKey::checked(key)
    }

    fn checked(key: DecodingKey) -> Result<PublicKey, PublicKeyError> {
        // Takes the key apart, which fails if it is not of its family.
        let parts = Jwk::from_decoding_key(&key, None).map_err(|_| PublicKeyError::Type)?;
        let algorithms: &[Algorithm] = match (key.family(), parts.algorithm) {
            (AlgorithmFamily::Rsa, AlgorithmParameters::RSA(rsa)) => {
                let bits = bits(&rsa.n).ok_or(PublicKeyError::Unreadable)?;
                if bits < RSA_BITS_MIN {
                    return Err(PublicKeyError::Short { bits });
                }
                &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512]
            }
            (AlgorithmFamily::Ec, AlgorithmParameters::EllipticCurve(point)) => {
                match point.curve == EllipticCurve::P256 {
                    true => &[Algorithm::ES256],
                    false => &[Algorithm::ES384],
                }
            }
            (AlgorithmFamily::Ed, _) => &[Algorithm::EdDSA],
            (AlgorithmFamily::Hmac | AlgorithmFamily::Rsa | AlgorithmFamily::Ec, _) => {
                return Err(PublicKeyError::Type);
            }
        };
        Ok(PublicKey { key, algorithms })
    }
}

/// Returns the number of bits in a number in base64url.
fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let leading = usize::try_from(bytes[first].leading_zeros()).ok()?;
    Some((bytes.len() - first) * 8 - leading)
}

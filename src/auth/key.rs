//! The keys from the configuration, and the algorithms of each key.

use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{AuthConfig, PublicKey};

/// A key with its algorithms: a token chooses neither.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithms: &'static [Algorithm],
}

impl Key {
    /// Returns all keys in the configuration itself.
    pub(super) fn configured(config: &AuthConfig) -> Vec<Key> {
        let secrets = [&config.hmac_secret, &config.hmac_secret_previous];
        let secrets = secrets.into_iter().flatten().map(Key::from);
        let public = config.public_keys.iter().cloned().map(Key::from);
        secrets.chain(public).collect()
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

impl From<&SecretString> for Key {
    fn from(secret: &SecretString) -> Key {
        Key {
            key: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
            algorithms: &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        }
    }
}

impl From<PublicKey> for Key {
    fn from(PublicKey { key, algorithms }: PublicKey) -> Key {
        Key { key, algorithms }
    }
}

//! Minimum lengths of the secrets that the hub shares with others: short ones can be guessed.

use secrecy::{ExposeSecret, SecretString};

use super::{Config, ConfigError};

/// Shorter secrets are refused without `--dev`: 128 bits if they are random.
pub(super) const SECRET_BYTES_MIN: usize = 16;

/// Shorter secrets cause a warning: a person's invention is far less random than its length suggests.
pub(super) const SECRET_BYTES_ADVISED: usize = 32;

/// A secret that is shorter than advised. Contains nothing of it but its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortSecret {
    pub key: &'static str,
    pub bytes: usize,
    pub advised: usize,
}

impl Config {
    /// Returns the secrets that are shorter than advised.
    pub fn short_secrets(&self) -> impl Iterator<Item = ShortSecret> {
        let bytes = |secret: &SecretString| secret.expose_secret().len();
        let auth = &self.auth;
        let keys = auth.api_keys.iter().map(|key| ("auth.api_keys", key));
        let others = [
            ("auth.hmac_secret", &auth.hmac_secret),
            ("auth.hmac_secret_previous", &auth.hmac_secret_previous),
            ("admin.token", &self.admin.token),
        ];
        let others = others
            .into_iter()
            .filter_map(|(key, secret)| Some((key, secret.as_ref()?)));
        keys.chain(others)
            .map(move |(key, secret)| ShortSecret {
                key,
                bytes: bytes(secret),
                advised: SECRET_BYTES_ADVISED,
            })
            .filter(|secret| secret.bytes < secret.advised)
    }

    /// Refuses secrets that are short enough to be guessed.
    pub(super) fn check_secrets(&self) -> Result<(), ConfigError> {
        let short = self
            .short_secrets()
            .find(|secret| secret.bytes < SECRET_BYTES_MIN);
        short.map_or(Ok(()), |ShortSecret { key, bytes, .. }| {
            Err(ConfigError::SecretShort {
                key,
                bytes,
                least: SECRET_BYTES_MIN,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a configuration in which the key has a secret of this many bytes.
    fn with(key: &str, bytes: usize) -> Config {
        let mut config = Config::default();
        let secret = SecretString::from("s".repeat(bytes));
        match key {
            "auth.api_keys" => config.auth.api_keys = vec!["k".repeat(64).into(), secret],
            "auth.hmac_secret" => config.auth.hmac_secret = Some(secret),
            "auth.hmac_secret_previous" => config.auth.hmac_secret_previous = Some(secret),
            _ => config.admin.token = Some(secret),
        }
        config.auth.guests = true;
        config
    }

    #[test]
    fn a_short_secret_is_refused_and_a_longer_one_warned_of_whichever_key_has_it() {
        for key in [
            "auth.api_keys",
            "auth.hmac_secret",
            "auth.hmac_secret_previous",
            "admin.token",
        ] {
            let refused = with(key, 15).check_safe_start().unwrap_err().to_string();
            assert!(refused.contains(key) && refused.contains("15"), "{refused}");
            for (bytes, is_warned_of) in [(16, true), (31, true), (32, false)] {
                let config = with(key, bytes);
                config.check_safe_start().unwrap();
                let warned: Vec<_> = config.short_secrets().map(|short| short.key).collect();
                assert_eq!(warned == [key], is_warned_of, "{key} with {bytes} bytes");
            }
            let mut dev = with(key, 1);
            dev.dev = true;
            dev.check_safe_start().unwrap();
        }
    }
}

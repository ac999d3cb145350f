//! Verifies signed tokens: the key first, then the signature, then the claims.

use std::sync::Arc;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::claim::{Grant, Login, LoginClaims, SubscriptionClaims};
use super::header::Header;
use super::key::Key;
use super::key_set::KeySet;
use super::metric::count_token;
use super::token::{SubscriptionError, TokenError};
use crate::config::{AuthConfig, ConfigError, KeySetSource};
use crate::id::UserId;

/// A verifier for the JWTs of the game's own login. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<Keys>);

#[derive(Debug)]
struct Keys {
    configured: Vec<Key>,
    set: Option<KeySet>,
    /// The rules for every token, except its algorithm.
    validation: Validation,
}

impl Verifier {
    /// Prepares the configured keys. A key set is fetched by [`Verifier::keep_fresh`], or when the first token needs
    /// it.
    ///
    /// # Errors
    /// If there are no certificates to verify the key set's server with.
    pub fn new(config: &AuthConfig) -> Result<Verifier, ConfigError> {
        let set = config.jwks_url.as_ref().map(KeySet::new).transpose();
        let set = set.map_err(|error| ConfigError::Certificates {
            reason: error.to_string(),
        })?;
        Ok(Verifier(Arc::new(Keys {
            configured: Key::configured(config),
            set,
            validation: validation(config),
        })))
    }

    /// Does the same for a hub that starts: a key set in a file must be present and valid, one at an address may be
    /// unreachable.
    ///
    /// # Errors
    /// If the key set's server could not be verified, or the file with the set cannot be used.
    pub async fn open(config: &AuthConfig) -> Result<Verifier, ConfigError> {
        let verifier = Verifier::new(config)?;
        match (&verifier.0.set, &config.jwks_url) {
            (Some(set), Some(KeySetSource::File(path))) => {
                set.refresh().await.map_err(|error| ConfigError::KeySet {
                    path: path.clone(),
                    reason: error.to_string(),
                })?;
            }
            (_, Some(KeySetSource::Url(uri))) if uri.scheme_str() == Some("http") => {
                warn!(
                    "auth.jwks_url begins with http://: anyone on the network path can log in as any user"
                );
            }
            (_, Some(KeySetSource::Url(_)) | None) | (None, Some(KeySetSource::File(_))) => {}
        }
        Ok(verifier)
    }

    /// Returns true if there is any key: without one, no token is valid.
    pub fn has_keys(&self) -> bool {
        !self.0.configured.is_empty() || self.0.set.is_some()
    }

    /// Fetches the key set on a schedule, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        if let Some(set) = &self.0.set {
            set.keep_fresh().await;
        }
    }

    /// Verifies a connection token.
    pub async fn login(&self, token: &str) -> Result<Login, TokenError> {
        let checked = match self.claims::<LoginClaims>(token).await {
            Ok(claims) => claims.read(now()),
            Err(error) => Err(error),
        };
        count_token(&checked);
        checked.inspect_err(|error| debug!(%error, "a connection token is refused"))
    }

    /// Verifies a subscription token of this user for this channel.
    pub async fn subscription(
        &self,
        token: &str,
        user: &UserId,
        channel: &str,
    ) -> Result<Grant, SubscriptionError> {
        let claims = self.claims::<SubscriptionClaims>(token).await;
        count_token(&claims);
        let granted = claims
            .map_err(SubscriptionError::from)
            .and_then(|claims| claims.read(user, channel, now()));
        granted.inspect_err(|error| debug!(%error, "a subscription token is refused"))
    }

    /// Returns the claims of a token with a valid signature and valid times.
    async fn claims<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenError> {
        let header = Header::read(token).ok_or(TokenError::Malformed)?;
        if !self.has_keys() {
            return Err(TokenError::NoKeys);
        }
        if header.is_extended() {
            let detail = "crit header asks for an extension that this hub does not know";
            return Err(TokenError::Claim(detail.into()));
        }
        // Refuses an unknown algorithm, such as `none`.
        let algorithm: Algorithm = header.alg.parse().map_err(|_| TokenError::Algorithm)?;
        let tried = self.try_keys(&self.0.configured, algorithm, token);
        // A set is public, so it never has the secret of an HMAC algorithm.
        let set = self.0.set.as_ref();
        let set = set.filter(|_| algorithm.family() != AlgorithmFamily::Hmac);
        match (set, tried) {
            (Some(set), Err(TokenError::Algorithm | TokenError::Signature)) => {
                let known = set.find(header.kid.as_deref()).await?;
                self.try_keys(known.candidates(header.kid.as_deref()), algorithm, token)
            }
            (Some(_) | None, tried) => tried,
        }
    }

    /// Tries the keys for this algorithm in turn, until one has signed the token.
    fn try_keys<'a, C: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
        algorithm: Algorithm,
        token: &str,
    ) -> Result<C, TokenError> {
        let mut refused = TokenError::Algorithm;
        let validation = Validation {
            algorithms: vec![algorithm],
            ..self.0.validation.clone()
        };
        for key in keys.into_iter().filter(|key| key.is_for(algorithm)) {
            match decode(token, &key.key, &validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => {
                    refused = token_error(&error);
                    // For any other reason the key is the right one, and the claims are wrong.
                    if refused != TokenError::Signature {
                        return Err(refused);
                    }
                }
            }
        }
        Err(refused)
    }
}

/// Returns the rules for tokens. Times have no leeway: the issuer chooses them.
fn validation(config: &AuthConfig) -> Validation {
    let mut validation = Validation::default();
    validation.required_spec_claims.clear();
    if config.require_exp {
        validation.required_spec_claims.insert("exp".to_owned());
    }
    validation.leeway = 0;
    validation.validate_nbf = true;
    // Otherwise the library refuses every token that names an audience.
    validation.validate_aud = config.audience.is_some();
    for (name, expected) in [("aud", &config.audience), ("iss", &config.issuer)] {
        if expected.is_some() {
            validation.required_spec_claims.insert(name.to_owned());
        }
    }
    if let Some(audience) = &config.audience {
        validation.set_audience(&[audience]);
    }
    if let Some(issuer) = &config.issuer {
        validation.set_issuer(&[issuer]);
    }
    validation
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add reasons; what is not known is malformed"
)]
fn token_error(error: &Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::Early,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => {
            let detail = "exp claim is missing: tokens that never expire are taken only with auth.require_exp = false";
            TokenError::Claim(detail.into())
        }
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            TokenError::Claim(format!("{claim} claim is wrong").into())
        }
        ErrorKind::Json(error) => {
            TokenError::Claim(format!("claims cannot be read: {error}").into())
        }
        _ => TokenError::Malformed,
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

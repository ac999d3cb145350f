//! Errors of signed tokens, and the refusals for them.

use std::borrow::Cow;

use crate::wire::{Reason, Refusal};

/// The reason why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The lifetime of the token, or of its permission, is over.
    #[error("the token has expired")]
    Expired,
    /// A new token may be valid by then: the client fetches one, as after an expiry.
    #[error("the token is not valid yet: its nbf is in the future")]
    Early,
    #[error("the token is neither a session token (hfs_...) nor a JWT")]
    Malformed,
    #[error("this hub takes no JWT: no key for them is configured")]
    NoKeys,
    #[error("the token's alg is not one that this hub's keys are for")]
    Algorithm,
    #[error("no key with the token's kid is known")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's aud is not this hub's")]
    Audience,
    #[error("the token's iss is not the one expected")]
    Issuer,
    /// Names the claim and the mistake.
    #[error("the token's {0}")]
    Claim(Cow<'static, str>),
    /// The key set could not be fetched: nothing is known about the token.
    #[error("the key that the token names could not be fetched")]
    Unavailable,
}

/// The reason why a token does not open a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is valid, but for another channel or another user.
    #[error("the token is for another channel or another user")]
    Foreign,
}

impl TokenError {
    /// Returns the label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            TokenError::Expired => "expired",
            TokenError::Early => "early",
            TokenError::Malformed => "malformed",
            TokenError::NoKeys => "no_keys",
            TokenError::Algorithm => "algorithm",
            TokenError::UnknownKey => "unknown_key",
            TokenError::Signature => "signature",
            TokenError::Audience => "audience",
            TokenError::Issuer => "issuer",
            TokenError::Claim(_) => "claim",
            TokenError::Unavailable => "unavailable",
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Refusal {
        let reason = match error {
            TokenError::Expired | TokenError::Early => Reason::TokenExpired,
            TokenError::Unavailable => Reason::Unavailable,
            TokenError::Malformed
            | TokenError::NoKeys
            | TokenError::Algorithm
            | TokenError::UnknownKey
            | TokenError::Signature
            | TokenError::Audience
            | TokenError::Issuer
            | TokenError::Claim(_) => Reason::TokenInvalid,
        };
        Refusal::new(reason, error.to_string())
    }
}

//! Why a signed token is not taken, and what its bearer is told.

use std::borrow::Cow;

use crate::wire::{Reason, Refusal};

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time, or the time of what it grants, is over.
    #[error("the token has expired")]
    Expired,
    /// A new one may be good by then: its bearer fetches one, as after the end of its time.
    #[error("the token is not good yet: its nbf is in the future")]
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
    /// Says which claim and why.
    #[error("the token's {0}")]
    Claim(Cow<'static, str>),
    /// The key set could not be asked: nothing is known of the token.
    #[error("the key that the token names could not be fetched")]
    Unavailable,
}

/// Why a token does not open a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is good, and for another channel or another user.
    #[error("the token is for another channel or another user")]
    Foreign,
}

impl TokenError {
    /// How it is counted.
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

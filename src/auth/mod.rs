//! Who somebody is, by a signed token: the login of the game itself (JWT).
//!
//! Owns: the keys that the configuration gives, and those of the key set, fetched and fetched again.
//! Supervised by: nobody; a token is checked in the task of whoever brings it.
//! On failure: a key set that does not come leaves the keys that are known, and what they cannot decide
//! is UNAVAILABLE, never invalid.

mod claim;
mod header;
mod key;
mod key_set;
mod metric;
mod shared_secret;
mod source;
mod token;
mod verifier;

pub use claim::{Grant, Login};
pub(crate) use shared_secret::{Secret, authorization, bearer};

pub use header::{TokenKind, token_kind};
pub use token::{SubscriptionError, TokenError};
pub use verifier::Verifier;

//! The identity of users, proved by a signed token (JWT) of the game's own login.
//!
//! - Owns: the keys from the configuration, and those of the key set, which is fetched on a schedule.
//! - Supervised by: nobody; a token is checked in the task of its request.
//! - On failure: if the key set cannot be fetched, the known keys stay valid. A token that they cannot decide is
//!   UNAVAILABLE, never invalid.

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

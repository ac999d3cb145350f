//! Seat tokens: signed proof that the bearer holds a seat.
//!
//! A seat token is a JWT (EdDSA, `typ` is `seat+jwt`) that anybody can verify with the public keys at
//! `/.well-known/jwks.json`. Signing one writes nothing. When it is used, the [`Generations`] of its seat decide if
//! it is valid.
//!
//! Owns: the keys. Supervised by nobody: it is only read.

mod fault;
mod generation;
mod key;
mod keyring;
mod own;

pub use fault::SeatTokenError;
pub use generation::{GenerationStatus, Generations};
pub use key::{KeyError, new_key};
pub use keyring::{Claims, Keyring, Signed};
pub use own::own_key_file;

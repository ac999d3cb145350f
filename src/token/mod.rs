//! Seat tokens: signed proof that its bearer holds a seat.
//!
//! A seat token is a JWT (EdDSA, `typ` is `seat+jwt`) that anybody can check with the public keys at
//! `/.well-known/jwks.json`. Signing one writes nothing; what it is worth when it comes back, the
//! [`Generations`] of its seat say.
//!
//! Owns: the keys. Supervised by nobody: it is only looked at.

mod fault;
mod generation;
mod key;
mod keyring;
mod own;

pub use fault::Fault;
pub use generation::{Generations, Worth};
pub use key::{KeyError, new_key};
pub use keyring::{Claims, Keyring, Signed};
pub use own::own_key_file;

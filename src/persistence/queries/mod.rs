//! Reads: single rows, batched across callers, and whole tables page by page at a start.

pub(crate) mod active_users;
pub(crate) mod gather;
pub(crate) mod read;
mod restore;
pub(crate) mod session_by_token;
mod survey;
pub(crate) mod written_out;

pub use read::StoredUser;
pub use session_by_token::Retries;
pub use survey::{SeatedPage, SeatedRoom};

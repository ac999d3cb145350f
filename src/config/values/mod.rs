//! Types of values in the configuration: how each is parsed, shown and refused.

pub(crate) mod did_you_mean;
pub(crate) mod key_set;
pub(crate) mod page_origin;
pub(crate) mod public_key;
pub(crate) mod redact;
pub(crate) mod sqlite_path;
pub(crate) mod unit;

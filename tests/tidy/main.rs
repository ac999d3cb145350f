//! The repository's own rules, checked by `cargo test` like any other behaviour.

mod files;
mod guide;
mod layers;
mod prose;
mod source;

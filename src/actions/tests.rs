//! Actions for the tests of modules that call them.

use std::path::Path;
use std::sync::Arc;

use super::{Actions, PlayerLimits};
use crate::session::tests::{Domain, domain};

/// Returns actions on a domain with no actor started: each request to it is answered with UNAVAILABLE.
pub(crate) async fn actions(folder: &Path) -> Actions {
    let Domain {
        config,
        sessions,
        rooms,
        persistence,
        matchmaker,
    } = domain(folder).await;
    let limits = Arc::new(PlayerLimits::new(&config));
    Actions::new(sessions, rooms, persistence, matchmaker, limits)
}

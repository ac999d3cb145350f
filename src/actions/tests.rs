//! Actions for the tests of those who carry them out.

use std::path::Path;
use std::sync::Arc;

use super::{Actions, PlayerLimits};
use crate::session::tests::{Domain, domain};

/// Actions on a domain none of whose actors were started: whatever reaches it is UNAVAILABLE.
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

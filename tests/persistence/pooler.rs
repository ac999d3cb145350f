//! A pooler between the daemon and PostgreSQL.

use std::time::Duration;

use holdfast::clock::HubClock;
use holdfast::persistence::{OpenError, Store, migrate_up};
use tokio::time::Instant;

use super::database::{Database, PATIENCE};
use super::vocabulary::Player;
use crate::support::Pooler;

/// How long a daemon would go on trying.
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_shares_sessions_is_refused_at_once_and_keeps_nothing() {
    let Some(mut database) = Database::postgres().await else {
        return;
    };
    let direct = database.url.clone();
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::before(&direct, mode).await;
        database.config.database.url = pooler.url().to_owned().into();

        let began = Instant::now();
        let opened = Store::open_within(&database.config, HubClock::start(), WITHIN).await;
        let took = began.elapsed();
        let migrated = migrate_up(&database.config).await;

        let refused = opened.unwrap_err();
        assert!(matches!(refused, OpenError::Pooler), "{mode}: {refused}");
        assert!(refused.to_string().contains("transaction mode"));
        assert_eq!(refused.exit_code(), 69);
        assert!(took < PATIENCE, "{took:?}");
        assert!(matches!(migrated, Err(OpenError::Pooler)), "{mode}");
        // The pooler still has its sessions, and the daemon starts beside it without a wait.
        database.config.database.url = direct.clone().into();
        let once = Duration::ZERO;
        let opened = Store::open_within(&database.config, HubClock::start(), once).await;
        opened.unwrap().persistence().drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_gives_each_connection_a_session_is_fine() {
    let Some(mut database) = Database::postgres().await else {
        return;
    };
    let pooler = Pooler::before(&database.url, "session").await;
    database.config.database.url = pooler.url().to_owned().into();

    let hub = database.start().await;
    let player = Player::new();
    hub.persistence.write(player.opens_session()).await.unwrap();

    let found = hub.persistence.session_by_id(player.session).await;
    assert!(found.unwrap().is_some());
    hub.stop().await;
}

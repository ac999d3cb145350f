//! When the daemon starts, when it refuses to, and what it says of itself.

use serde_json::json;

use crate::support::{Daemon, Database, Player, on_both_databases};

on_both_databases!(
    a_second_daemon_on_the_same_data_is_refused_and_harms_nothing,
    a_database_newer_than_the_daemon_is_refused,
    a_healthy_daemon_says_so_after_asking_the_database,
);

async fn a_second_daemon_on_the_same_data_is_refused_and_harms_nothing(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut client = host.sits_down(&daemon).await;

    let code = daemon.starts_a_second().await;

    assert_eq!(code, Some(69));
    assert_eq!(
        client.publishes(&host.channel, json!("on")).await,
        Ok(json!({}))
    );
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
}

async fn a_database_newer_than_the_daemon_is_refused(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    daemon.stop().await;
    let future = "INSERT INTO seaql_migrations (version, applied_at)
        VALUES ('m29990101_000001_from_the_future', 0)";
    daemon.store().execute(future).await;

    let code = daemon.starts_a_second().await;

    assert_eq!(code, Some(69));
}

async fn a_healthy_daemon_says_so_after_asking_the_database(database: Database) {
    let daemon = Daemon::on(database).start().await;

    let health = daemon.get("/api/health").send().await;
    let alive = daemon.get("/livez").send().await;

    assert_eq!(health.status, 200);
    assert_eq!(health.body["status"], "ok");
    assert_eq!(health.body["database"], true);
    assert_eq!(alive.status, 200);
}

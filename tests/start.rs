//! When the daemon starts, when it refuses to, and what it says of itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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

/// The files of a folder that others may do something with.
fn open_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.metadata().unwrap().permissions().mode() & 0o077 != 0)
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_a_hub_are_private_in_a_folder_that_is_open_to_all() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let plan = Daemon::on(Database::Sqlite).in_folder(&folder);

    let mut daemon = plan.with_open_umask().start().await;
    let host = Player::opens(&daemon).await;
    for file in [
        "holdfast.db",
        "holdfast.db-wal",
        "holdfast.db-shm",
        "holdfast.db.lock",
    ] {
        assert!(folder.join(file).exists(), "{file}");
    }
    assert_eq!(open_files(&folder), [""; 0]);
    let warning = "the data folder is open to other users";
    assert!(daemon.log().contains(warning), "{}", daemon.log());
    daemon.kill();

    // As an earlier version, or a copy, has left them.
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    }
    daemon.restart().await;

    assert_eq!(open_files(&folder), [""; 0]);
    assert_eq!(host.seat_in_room(&daemon).await["status"], "away");
}

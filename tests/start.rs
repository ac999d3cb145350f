//! When the daemon starts, when it refuses to, and what it says of itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::support::{Daemon, Database, Player, Server, on_both_databases};

/// A folder's name with what means something else in an address, or in a path of SQLite.
const ODD_NAME: &str = "file:a#b%20c?d=e&f %é";

/// The connections of a small PostgreSQL, of which three are kept for superusers.
const FEW_CONNECTIONS: i64 = 20;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_is_refused_by_whatever_name_it_knows_the_database() {
    let mut daemon = Daemon::on(Database::Sqlite).start().await;
    let file = daemon.store().file().to_owned();
    let beside = daemon.data_dir().parent().unwrap().to_owned();

    for (name, kind) in [("soft", "symbolic link"), ("hard", "hard link")] {
        let folder = beside.join(name);
        fs::create_dir(&folder).unwrap();
        let link = folder.join("holdfast.db");
        match name {
            "soft" => symlink(&file, &link).unwrap(),
            _ => fs::hard_link(&file, &link).unwrap(),
        }
        let told = daemon.log().len();
        daemon.reconfigure("data_dir", folder.to_str().unwrap());
        let code = daemon.starts_a_second().await;

        let log = daemon.log().split_off(told);
        assert_eq!(code, Some(69), "by a {kind}: {log}");
        assert!(log.contains("another daemon"), "by a {kind}: {log}");
    }
    let player = Player::opens(&daemon).await;
    assert_eq!(player.seat_in_room(&daemon).await["status"], "away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_with_two_names_that_nobody_uses_is_opened_by_either() {
    let mut daemon = Daemon::on(Database::Sqlite).start().await;
    let player = Player::opens(&daemon).await;
    daemon.stop().await;
    let copy = daemon.data_dir().parent().unwrap().join("copy.db");
    fs::hard_link(daemon.store().file(), copy).unwrap();

    daemon.restart().await;

    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_in_the_data_folder_whatever_its_name_is() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join(ODD_NAME);
    let mut daemon = Daemon::on(Database::Sqlite)
        .set("data_dir", data_dir.to_str().unwrap())
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    daemon.stop().await;

    let entries = fs::read_dir(folder.path()).unwrap().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    assert_eq!(names, [ODD_NAME]);
    assert!(data_dir.join("holdfast.db").exists());

    daemon.restart().await;
    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_few_connections_is_used_with_fewer() {
    let limit = format!("max_connections={FEW_CONNECTIONS}");
    let server = Server::start_with(&[&limit]).await;
    let daemon = Daemon::on(Database::Postgres)
        .on_server(&server)
        .set("database.connections_min", "20")
        .set("database.connections_max", "30")
        .start()
        .await;

    let player = Player::opens(&daemon).await;
    let used = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    let used = daemon.store().count(used).await;
    assert!(used < FEW_CONNECTIONS - 3, "{used}");
    let log = daemon.log();
    assert!(log.contains("database.connections_max is lowered"), "{log}");
    assert_eq!(player.seat_in_room(&daemon).await["status"], "away");
}

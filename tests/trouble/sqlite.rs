//! SQLite's file locked, its disk full or read-only, and a file that is no database.

use std::fs;

use serde_json::json;
use sqlx::{Connection, Executor};

use super::{Evening, Left};
use crate::support::{Daemon, Database, Disk, Player, eventually};

/// Messages of 15 KB, of which a stop has more to write than the log of the database has room for.
const WORDS: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_program_has_locked_is_waited_for() {
    let mut daemon = Daemon::on(Database::Sqlite).start().await;
    let mut evening = Evening::begins(&mut daemon).await;

    let mut other = daemon.store().open_sqlite().await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let symptom = "database is locked";
    evening.goes_on_without(&daemon, Left::Reads, symptom).await;

    other.execute("ROLLBACK").await.unwrap();
    evening.ends_well(&mut daemon).await;
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_until_there_is_room() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let mut daemon = Daemon::on(Database::Sqlite).on_disk(&disk).start().await;
    let mut evening = Evening::begins(&mut daemon).await;

    disk.fill();
    let symptom = "database or disk is full";
    evening.goes_on_without(&daemon, Left::Reads, symptom).await;

    disk.make_room();
    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_on_a_full_disk_waits_for_room_and_loses_no_history() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let mut daemon = Daemon::on(Database::Sqlite)
        .on_disk(&disk)
        .set("kind.table.history_bytes", "8MiB")
        .set("client.bytes_per_second", "64MiB")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let (mut client, _) = player.connects(&daemon).await;
    let subscribed = client.subscribes(&player.channel).await.unwrap();
    let epoch = subscribed["epoch"].as_str().unwrap();
    let word = json!("m".repeat(15_000));
    for _ in 0..WORDS {
        let publishing = client.publishes(&player.channel, word.clone());
        publishing.await.unwrap();
    }
    let heard = client.heard_on(&player.channel);
    let top = heard.last().unwrap()["offset"].as_u64().unwrap();

    disk.fill();
    daemon.begins_to_stop();
    let symptom = "database or disk is full";
    eventually("the stop is tried three times", async || {
        let tries = daemon.log().matches(symptom).count();
        (tries >= 3).then_some(()).ok_or(format!("{tries} times"))
    })
    .await;
    disk.make_room();
    let status = daemon.stopped().await;
    daemon.restart().await;

    assert_eq!(status.code(), Some(0));
    let (mut client, _) = player.connects(&daemon).await;
    let recovered = client.recovers(&player.channel, epoch, top - 5).await;
    let recovered = recovered.unwrap();
    assert_eq!(recovered["recovered"], true, "{recovered}");
    assert!(recovered["publications"].as_array().unwrap().len() >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_folder_is_refused_and_nothing_in_it_is_lost() {
    let Some(disk) = Disk::mount() else {
        return;
    };
    let mut daemon = Daemon::on(Database::Sqlite).on_disk(&disk).start().await;
    let player = Player::opens(&daemon).await;
    daemon.kill();

    disk.set_read_only(true);
    let code = daemon.starts_a_second().await;
    disk.set_read_only(false);
    daemon.restart().await;

    assert_eq!(code, Some(77));
    let log = daemon.log();
    assert!(log.contains("cannot write into the data folder"), "{log}");
    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_database_is_refused_at_once_and_left_as_it_is() {
    let mut daemon = Daemon::on(Database::Sqlite).start().await;
    daemon.stop().await;
    let file = daemon.store().file().to_owned();
    let mut damaged = fs::read(&file).unwrap();
    damaged[..64].fill(b'?');
    fs::write(&file, &damaged).unwrap();

    let code = daemon.starts_a_second().await;

    assert_eq!(code, Some(69));
    let log = daemon.log();
    assert!(log.contains("is no SQLite database"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
    assert!(fs::read(&file).unwrap() == damaged, "the file was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_did_not_keep_what_it_was_given_ends_the_daemon() {
    let plan = Daemon::on(Database::Sqlite).with_wall_clock();
    let mut daemon = plan.start().await;
    let player = Player::opens(&daemon).await;

    daemon.wall_clock().has_each_sync_fail(true);
    let status = daemon.ends().await;
    daemon.wall_clock().has_each_sync_fail(false);
    daemon.restart().await;

    assert_eq!(status.code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("an fsync of the database failed"), "{log}");
    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

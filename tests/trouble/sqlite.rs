//! SQLite's file locked, its disk full or read-only, and a file that is no database.

use std::fs;

use sqlx::{Connection, Executor};

use super::{Evening, Left};
use crate::support::{Daemon, Database, Disk, Player};

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

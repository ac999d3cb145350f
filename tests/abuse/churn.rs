//! Connections that come and go, and a daemon that may open no more files.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::vitals::{files, processor};
use super::{Honest, Raw, Vitals, start};
use crate::support::{Daemon, Player, eventually, program};

/// Connections open at one time during a storm.
const AT_ONCE: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_connections_that_come_and_go_leave_nothing_behind() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;

    stream::iter(0..3_000)
        .for_each_concurrent(AT_ONCE, |number| {
            let address = daemon.address();
            async move {
                match number % 3 {
                    0 => Raw::open(address).await.resets(),
                    1 => Raw::dial(address).await.resets(),
                    _ => drop(Raw::dial(address).await),
                }
            }
        })
        .await;

    let after = eventually("no connection is left", async || {
        let after = Vitals::of(&daemon).await;
        let is_back = after.actors == before.actors;
        is_back
            .then_some(after)
            .ok_or(format!("{before:?} {after:?}"))
    })
    .await;
    assert_eq!(after.actors.sessions, before.actors.sessions);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("3,000 connections").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_file_descriptors_waits_and_comes_back_by_itself() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let allowed = allow_files(&daemon, files(&daemon) + 20);

    let held = join_all((0..100).map(|_| TcpStream::connect(daemon.address()))).await;
    let used = processor(&daemon);
    sleep(Duration::from_secs(2)).await;
    let used = processor(&daemon) - used;
    let complaints = daemon
        .log()
        .matches("no connection can be accepted")
        .count();
    drop(held);
    let freed = Instant::now();
    let player = timeout(Duration::from_secs(10), Player::opens(&daemon)).await;
    let waited = freed.elapsed();
    allow_files(&daemon, allowed);

    // Fifty players talk meanwhile; a loop that spins would take a whole core, 2 s.
    println!("without descriptors: {used:?} of processor time in 2 s, back after {waited:?}");
    assert!(used < Duration::from_millis(1_600), "{used:?}");
    assert!(
        (1..10).contains(&complaints),
        "{complaints} lines in the log"
    );
    let player = player.expect("back as soon as there are descriptors");
    daemon.delete("/v1/session").by(&player.token).send().await;
    eventually("the descriptors are free", async || {
        let now = files(&daemon);
        let is_back = now <= before.files + before.files / 10;
        is_back.then_some(()).ok_or(format!("{before:?}, {now}"))
    })
    .await;
    honest.have_lost_nothing("no descriptors").await;
}

/// Sets the soft limit on open files; returns the one before.
fn allow_files(daemon: &Daemon, limit: usize) -> usize {
    let process = daemon.process();
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let set = program("prlimit")
        .arg(format!("--pid={process}"))
        .arg(format!("--nofile={limit}:"))
        .status()
        .unwrap();
    assert!(set.success());
    soft.and_then(|soft| soft.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_hub_turns_the_next_one_away_with_words_and_takes_it_when_there_is_room() {
    let daemon = Daemon::on(crate::support::Database::Sqlite)
        .set("server.connections_max", "80")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let held = join_all((0..30).map(|_| Raw::dial(daemon.address()))).await;
    let mut one_more = Raw::open(daemon.address()).await;
    let answer = one_more.ends().await;
    drop(held);

    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("UNAVAILABLE"),
        "{answer}"
    );
    before.come_back(&daemon).await;
    Raw::dial(daemon.address()).await;
    honest.have_lost_nothing("a full hub").await;
}

//! A wall clock that is set while the daemon runs, as a server does when it first hears the right time.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    a_wall_clock_that_jumps_moves_no_hold_and_cuts_no_line,
    holds_end_in_time_whatever_the_wall_clock_says,
    a_restart_after_a_jump_finds_the_holds_as_they_were,
);

const DAY: Duration = Duration::from_secs(86_400);

/// The daemon goes by the clock that was set: each HTTP answer has its date.
async fn the_date_is(daemon: &Daemon, is_so: impl Fn(&str) -> bool) {
    eventually("the daemon has another date", async || {
        let answer = daemon.get("/livez").send().await;
        let date = answer.headers["date"].clone();
        is_so(&date).then_some(()).ok_or(date)
    })
    .await;
}

async fn left(daemon: &Daemon, player: &Player) -> u64 {
    let request = daemon.get("/v1/session").by(&player.token);
    let seats = request.send().await.expect(200)["seats"].take();
    assert_eq!(seats[0]["status"], "away", "{seats}");
    seats[0]["hold_seconds"].as_u64().unwrap()
}

async fn seat_is(daemon: &Daemon, player: &Player, status: &str) {
    eventually(&format!("the seat is {status}"), async || {
        let seat = player.seat_in_room(daemon).await;
        let is_so = seat["status"] == status;
        is_so.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

async fn a_wall_clock_that_jumps_moves_no_hold_and_cuts_no_line(database: Database) {
    let daemon = Daemon::on(database)
        .with_wall_clock()
        .set("kind.table.grace", "60s")
        .set("client.ping", "1s")
        .set("client.pong_timeout", "900ms")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let away = Player::joins(&daemon, &host.room).await;
    let mut client = host.sits_down(&daemon).await;

    for set in [
        (|daemon| daemon.wall_clock().is_ahead_by(10 * DAY)) as fn(&Daemon),
        |daemon| daemon.wall_clock().is_behind_by(20 * DAY),
        |daemon| daemon.wall_clock().is_ahead_by(3_650 * DAY),
    ] {
        set(&daemon);
        let said = client.publishes(&host.channel, Value::from("still here"));
        said.await.unwrap();
        let pings = daemon.metric("holdfast_messages_received_total{kind=\"pong\"}");
        let pings = pings.await;
        eventually("two more pings are answered", async || {
            let now = daemon.metric("holdfast_messages_received_total{kind=\"pong\"}");
            let now = now.await;
            (now >= pings + 2).then_some(()).ok_or(now.to_string())
        })
        .await;

        assert!(client.is_open());
        let left = left(&daemon, &away).await;
        assert!((25..=60).contains(&left), "{left} s are left");
        assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
        // A session that is made after a jump is as good as any.
        let late = Player::joins(&daemon, &host.room).await;
        let (_client, data) = late.connects(&daemon).await;
        assert_eq!(data["seats"][0]["room"], host.room);
    }
    the_date_is(&daemon, |date| date.contains(" 2036 ")).await;
}

async fn holds_end_in_time_whatever_the_wall_clock_says(database: Database) {
    let daemon = Daemon::on(database)
        .with_wall_clock()
        .set("kind.table.grace", "4s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let mut client = host.sits_down(&daemon).await;

    for set in [
        (|daemon| daemon.wall_clock().is_ahead_by(DAY)) as fn(&Daemon),
        |daemon| daemon.wall_clock().is_behind_by(DAY),
    ] {
        // The hold begins at some moment after this one.
        let before = Instant::now();
        let guest = Player::joins(&daemon, &host.room).await;
        set(&daemon);
        let at_once = guest.seat_in_room(&daemon).await;
        if before.elapsed() < Duration::from_secs(3) {
            assert_eq!(at_once["status"], "away");
        }
        let released = client.hears_news(&host.channel, "seat.released").await;

        assert_eq!(released["user"]["id"], guest.user);
        assert!(before.elapsed() >= Duration::from_secs(4), "{before:?}");
        seat_is(&daemon, &guest, "empty").await;
    }
}

async fn a_restart_after_a_jump_finds_the_holds_as_they_were(database: Database) {
    let mut daemon = Daemon::on(database)
        .with_wall_clock()
        .set("kind.table.grace", "10m")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    assert_eq!(left(&daemon, &host).await, 600);
    let began = Instant::now();

    for set in [
        (|daemon| daemon.wall_clock().is_ahead_by(30 * DAY)) as fn(&Daemon),
        |daemon| daemon.wall_clock().is_behind_by(30 * DAY),
        |daemon| daemon.wall_clock().is_ahead_by(Duration::ZERO),
    ] {
        set(&daemon);
        daemon.restart().await;

        let now = left(&daemon, &host).await;
        // It is counted from the last heartbeat, which may be older than the hold.
        assert!(now <= 600, "{now} s are left");
        assert!(
            now + began.elapsed().as_secs() + 1 >= 600,
            "{now} s are left"
        );
    }
    let (_client, data) = host.connects(&daemon).await;
    assert_eq!(data["seats"][0]["status"], "held");
    assert_eq!(data["seats"][0]["hold_seconds"], 600);
}

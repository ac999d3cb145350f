//! The news of a seat are in the history whenever the change is: no moment for a crash lies between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Daemon, Database, Player, Request, eventually, on_both_databases};

on_both_databases!(
    each_change_of_a_seat_that_was_answered_is_in_the_history_at_once,
    a_hold_that_is_over_is_told_in_its_own_commit,
    a_room_that_closes_says_so_in_its_own_commit,
    whoever_reads_the_history_after_a_crash_knows_who_sits_there,
);

/// Long enough that a second commit would come too late.
const COMMIT_DELAY: &str = "300ms";

/// What a durable room of many seats is called here.
const KIND: &str = "hall";

/// Everything that was published, in order.
async fn told(daemon: &Daemon, database: Database) -> Vec<Value> {
    let data = match database {
        Database::Sqlite => "CAST(data AS TEXT)",
        Database::Postgres => "convert_from(data, 'UTF8')",
    };
    let sql = format!("SELECT {data} FROM room_publications ORDER BY \"offset\"");
    let texts = daemon.store().texts(&sql).await.into_iter();
    texts.map(|text| text.parse().unwrap()).collect()
}

/// Kills the daemon, and gives the last that it has stored.
async fn last_words(daemon: &mut Daemon, database: Database) -> Value {
    daemon.kill();
    let last = told(daemon, database).await.pop();
    daemon.restart().await;
    last.unwrap_or_default()
}

#[track_caller]
fn is_about(news: &Value, kind: &str, player: &Player) {
    assert_eq!(news["type"], kind, "{news}");
    assert_eq!(news["seat"].as_u64(), player.seat, "{news}");
    assert_eq!(news["user"]["id"], player.user, "{news}");
}

async fn each_change_of_a_seat_that_was_answered_is_in_the_history_at_once(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("faults.commit_delay", COMMIT_DELAY)
        .start()
        .await;

    let ana = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let opened = last_words(&mut daemon, database).await;
    is_about(&opened, "seat.held", &ana);
    assert_eq!(opened["user"]["name"], "Ana");

    let bo = Player::joins(&daemon, &ana.room).await;
    let complete = last_words(&mut daemon, database).await;
    assert_eq!(complete["type"], "room.ready");
    let news = told(&daemon, database).await;
    is_about(&news[news.len() - 2], "seat.held", &bo);

    let (_client, data) = bo.connects(&daemon).await;
    let token = data["seats"][0]["token"].clone();
    let body = json!({ "seat_token": token });
    let back = daemon.post("/v1/sessions", body).send().await.expect(201);
    is_about(&last_words(&mut daemon, database).await, "seat.away", &bo);

    let again = back["session"]["token"].as_str().unwrap();
    let ending = daemon.delete("/v1/session").by(again).send().await;
    assert_eq!(ending.status, 204, "{ending:?}");
    let ended = last_words(&mut daemon, database).await;
    is_about(&ended, "seat.released", &bo);
    assert_eq!(ended["reason"], "session_ended");

    let (mut client, _) = ana.connects(&daemon).await;
    let room = json!({ "room": ana.room });
    client.calls("seat.release", room).await.unwrap();
    let left = last_words(&mut daemon, database).await;
    is_about(&left, "seat.released", &ana);
    assert_eq!(left["reason"], "left");
    let offsets = "SELECT count(*) FROM room_publications p JOIN rooms r \
                   ON r.id = p.room_id AND r.stream_epoch = p.epoch \
                   WHERE p.\"offset\" BETWEEN 1 AND r.stream_top";
    let count = u64::try_from(daemon.store().count(offsets).await).unwrap();
    assert_eq!(count, told(&daemon, database).await.len() as u64);
}

async fn a_hold_that_is_over_is_told_in_its_own_commit(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("faults.commit_delay", COMMIT_DELAY)
        .set("kind.duel.grace", "1s")
        .start()
        .await;
    let ana = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;

    eventually("the seat is given up", async || {
        let seats = daemon
            .store()
            .count("SELECT count(*) FROM room_seats")
            .await;
        (seats == 0).then_some(()).ok_or(format!("{seats} seats"))
    })
    .await;
    daemon.kill();

    let last = told(&daemon, database).await.pop().unwrap();
    is_about(&last, "seat.released", &ana);
    assert_eq!(last["reason"], "hold_over");
}

async fn a_room_that_closes_says_so_in_its_own_commit(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("faults.commit_delay", COMMIT_DELAY)
        .set("kind.duel.grace", "1s")
        .set("kind.duel.empty_ttl", "1s")
        .start()
        .await;
    Player::opens_with(&daemon, json!({ "kind": "duel" })).await;

    eventually("the room is closed", async || {
        let sql = "SELECT count(*) FROM rooms WHERE closed_at IS NOT NULL";
        let closed = daemon.store().count(sql).await;
        (closed == 1).then_some(()).ok_or("it is open".to_owned())
    })
    .await;
    daemon.kill();

    // The history of a closed room goes a commit later.
    let last = told(&daemon, database).await.pop();
    assert_eq!(last.unwrap_or_default()["type"], "room.closed");
}

async fn whoever_reads_the_history_after_a_crash_knows_who_sits_there(database: Database) {
    let mut daemon = Daemon::on(database)
        .set(&format!("kind.{KIND}.seats"), "16")
        .set(&format!("kind.{KIND}.grace"), "1s")
        .set(&format!("kind.{KIND}.history_durable"), "true")
        .set(&format!("kind.{KIND}.history_size"), "100000")
        .set(&format!("kind.{KIND}.history_bytes"), "64MiB")
        .start()
        .await;
    let host = Player::opens_with(&daemon, json!({ "kind": KIND })).await;

    for _ in 0..4 {
        come_and_go_until_killed(&mut daemon, &host.room).await;

        let sitting = "SELECT user_id FROM room_seats ORDER BY seat";
        let sitting = daemon.store().texts(sitting).await;
        let news = told(&daemon, database).await;
        assert_eq!(who_sits_by(&news), sitting, "{} news", news.len());
        daemon.restart().await;
    }
}

/// Guests sit down; half of them end their session, the others' holds run out. Until `kill -9`.
async fn come_and_go_until_killed(daemon: &mut Daemon, room: &str) {
    const CALLERS: usize = 12;
    const ANSWERS_BEFORE_THE_KILL: usize = 120;
    let answered = AtomicUsize::new(0);
    let address = daemon.address();
    let callers = join_all((0..CALLERS).map(async |number| {
        let body = json!({ "guest": { "name": "Bo" } });
        loop {
            let join = Request::new(address, "POST", &format!("/v1/rooms/{room}/join"));
            let Ok(answer) = join.json(&body).try_send().await else {
                return;
            };
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.status != 200 || number % 2 == 0 {
                continue;
            }
            let bo = Player::from(&answer.body);
            let end = Request::new(address, "DELETE", "/v1/session").by(&bo.token);
            if end.try_send().await.is_err() {
                return;
            }
        }
    }));
    let killer = async {
        eventually("guests come and go", async || {
            let count = answered.load(Ordering::Relaxed);
            let are_enough = count >= ANSWERS_BEFORE_THE_KILL;
            are_enough.then_some(()).ok_or(format!("{count} so far"))
        })
        .await;
        daemon.kill();
    };
    tokio::join!(callers, killer);
}

/// The users who sit in a room, in the order of the seats, as far as its news tell.
fn who_sits_by(news: &[Value]) -> Vec<String> {
    let mut seats = BTreeMap::new();
    for news in news {
        let (seat, user) = (news["seat"].as_u64(), news["user"]["id"].as_str());
        match news["type"].as_str() {
            Some("seat.held") => assert_eq!(seats.insert(seat, user), None, "{news}"),
            Some("seat.released") => assert_eq!(seats.remove(&seat), Some(user), "{news}"),
            Some("seat.away" | "seat.back") => assert_eq!(seats[&seat], user, "{news}"),
            _ => {}
        }
    }
    let users = seats.into_values();
    users.map(|user| user.unwrap().to_owned()).collect()
}

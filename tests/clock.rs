//! A wall clock that is set while the daemon runs, as a server does when it first hears the right time.

use std::time::Duration;

use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{Client, Daemon, Database, Frozen, Player, eventually, on_both_databases};

on_both_databases!(
    a_wall_clock_that_jumps_moves_no_hold_and_cuts_no_line,
    holds_end_in_time_whatever_the_wall_clock_says,
    a_restart_after_a_jump_finds_the_holds_as_they_were,
    what_others_are_told_is_by_the_wall_clock_as_it_is_now,
    a_machine_that_stood_still_loses_no_seat,
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

/// How far a moment, in seconds since 1970, is off what it should be from now.
#[track_caller]
fn is_from_now(seconds: i64, expected: Duration) {
    let off = seconds - chrono::Utc::now().timestamp() - i64::try_from(expected.as_secs()).unwrap();
    // A machine may be slow, and takes no hour.
    assert!((-300..=300).contains(&off), "{off} s off");
}

#[track_caller]
fn moment(text: &Value) -> i64 {
    let text = text.as_str().unwrap_or_else(|| panic!("{text}"));
    let moment = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    moment.timestamp()
}

async fn what_others_are_told_is_by_the_wall_clock_as_it_is_now(database: Database) {
    let mut daemon = Daemon::on(database).with_wall_clock().start().await;
    let (hour, week) = (Duration::from_secs(3_600), 7 * DAY);

    for start_with in [
        (|daemon| daemon.wall_clock().is_behind_by(2 * DAY)) as fn(&Daemon),
        |daemon| daemon.wall_clock().is_ahead_by(2 * DAY),
    ] {
        start_with(&daemon);
        daemon.restart().await;
        let host = Player::opens(&daemon).await;
        let (_, data) = host.connects(&daemon).await;
        let before = data["seats"][0]["token"].as_str().unwrap().to_owned();
        // The network's time comes.
        daemon.wall_clock().is_ahead_by(Duration::ZERO);

        let mut client = Client::dial(daemon.address()).await;
        let connected = client.connects(&host.token).await.unwrap();
        let (seat, session) = (
            &connected["data"]["seats"][0],
            &connected["data"]["session"],
        );
        let token = seat["token"].as_str().unwrap();
        let claims = insecure_decode::<Value>(token).unwrap().claims;
        is_from_now(claims["exp"].as_i64().unwrap(), hour);
        is_from_now(claims["iat"].as_i64().unwrap(), Duration::ZERO);
        is_from_now(moment(&seat["token_expires_at"]), hour);
        is_from_now(moment(&session["expires_at"]), week);
        is_from_now(connected["time"].as_i64().unwrap() / 1_000, Duration::ZERO);
        client.subscribes(&host.channel).await.unwrap();
        let said = client.publishes(&host.channel, json!("on time"));
        said.await.unwrap();
        let heard = client.hears_a_player(&host.channel).await;
        is_from_now(heard["time"].as_i64().unwrap() / 1_000, Duration::ZERO);
        let page = json!({ "channel": host.channel, "limit": 10 });
        let page = client.asks("history", page).await.unwrap();
        let last = page["publications"].as_array().unwrap().last().unwrap();
        is_from_now(last["time"].as_i64().unwrap() / 1_000, Duration::ZERO);
        // The hub itself still takes what it has signed before.
        let body = json!({ "seat_token": before });
        daemon.post("/v1/sessions", body).send().await.expect(201);
        let back = daemon.post("/v1/sessions", json!({ "seat_token": before }));
        let session = back.send().await.expect(201);
        is_from_now(moment(&session["session"]["expires_at"]), week);
    }
}

async fn a_machine_that_stood_still_loses_no_seat(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.grace", "10s")
        .set("client.ping", "3s")
        .set("client.pong_timeout", "2s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut here = host.sits_down(&daemon).await;
    guest.sits_down(&daemon).await.drops_the_line();
    here.hears_news(&host.channel, "seat.away").await;

    let still = Frozen::stop(vec![daemon.process()]);
    // Longer than the hold and than a ping may wait. The connect waits in the backlog until it is over.
    let (client, ()) = tokio::join!(guest.connects(&daemon), async {
        sleep(Duration::from_secs(11)).await;
        drop(still);
    });

    let (_client, data) = client;
    assert_eq!(data["seats"][0]["room"], host.room, "{data}");
    assert_eq!(data["seats"][0]["status"], "held");
    let said = here.publishes(&host.channel, json!("nobody was thrown out"));
    said.await.unwrap();
    assert!(here.is_open());
    assert!(daemon.log().contains("the process stood still"));
    // From here on the hold runs as ever.
    here.drops_the_line();
    seat_is(&daemon, &host, "away").await;
    seat_is(&daemon, &host, "empty").await;
}

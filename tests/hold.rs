//! How long a seat is kept, and who may say so.

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    a_room_has_the_hold_that_it_was_opened_with,
    a_game_server_keeps_a_seat_for_longer_and_a_crash_changes_nothing,
    a_hold_that_was_made_longer_ends_all_the_same,
);

on_both_databases!(
    a_player_asks_for_no_longer_hold_than_its_kind_allows,
    only_the_game_server_keeps_seats_and_only_those_that_are_there,
);

async fn own_seat(daemon: &Daemon, player: &Player) -> Value {
    let request = daemon.get("/v1/session").by(&player.token);
    request.send().await.expect(200)["seats"][0].clone()
}

async fn keep(daemon: &Daemon, player: &Player, seconds: u64) -> Value {
    let path = hold_of(player);
    let request = daemon.post_as_game(&path, json!({ "seconds": seconds }));
    request.send().await.expect(200)["seat"].take()
}

fn hold_of(player: &Player) -> String {
    let seat = player.seat.expect("a player with a seat");
    format!("/v1/rooms/{}/seats/{seat}/hold", player.room)
}

async fn is_left(daemon: &Daemon, player: &Player, status: &str) {
    eventually(&format!("the seat is {status}"), async || {
        let seat = player.seat_in_room(daemon).await;
        let is_so = seat["status"] == status;
        is_so.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

async fn a_room_has_the_hold_that_it_was_opened_with(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace_max", "1h")
        .start()
        .await;
    let long = Player::opens_with(&daemon, json!({ "grace": 3600 })).await;
    let guest = Player::joins(&daemon, &long.room).await;
    let (mut client, data) = guest.connects(&daemon).await;
    let short = client.calls("room.open", json!({ "grace": 1 })).await;
    let short = short.unwrap();

    assert_eq!(data["seats"][0]["hold_seconds"], 3600);
    assert_eq!(short["seat"]["hold_seconds"], 1);
    daemon.restart().await;
    let (_client, data) = long.connects(&daemon).await;
    assert_eq!(data["seats"][0]["hold_seconds"], 3600);
    let code = short["room"]["code"].as_str().unwrap();
    eventually("the short hold is over", async || {
        let seat = daemon.room(code).await["seats"][0].take();
        let is_over = seat["status"] == "empty";
        is_over.then_some(()).ok_or(seat.to_string())
    })
    .await;
    assert_eq!(guest.seat_in_room(&daemon).await["status"], "away");
}

async fn a_player_asks_for_no_longer_hold_than_its_kind_allows(database: Database) {
    let daemon = Daemon::on(database)
        .with_api_key()
        .set("session.ttl", "2h")
        .set("kind.duel.grace_max", "10m")
        .start()
        .await;
    let guest = |body: Value| daemon.post("/v1/rooms", body).send();

    let too_long = guest(json!({ "grace": 301 })).await;
    assert_eq!(too_long.refusal(), (400, "BAD_REQUEST"));
    let detail = too_long.body["detail"].as_str().unwrap();
    assert_eq!(
        detail,
        "grace may be at most 300 seconds (kind.table.grace_max), this one has 301"
    );
    guest(json!({ "grace": 300 })).await.expect(201);
    guest(json!({ "grace": 0 })).await.expect(201);
    guest(json!({ "kind": "duel", "grace": 600 }))
        .await
        .expect(201);
    let too_long = guest(json!({ "kind": "duel", "grace": 601 })).await;
    assert_eq!(too_long.refusal(), (400, "BAD_REQUEST"));
    for wrong in [json!("60"), json!(-1), json!(1.5), json!(true)] {
        let answer = guest(json!({ "grace": wrong })).await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"), "{wrong}");
    }
    let mut client = Client::dial(daemon.address()).await;
    client.asks("connect", json!({})).await.unwrap();
    let refused = client.calls("room.open", json!({ "grace": 301 })).await;
    assert_eq!(refused.unwrap_err().code(), 107);

    let by_game = |grace: u64| {
        let body = json!({ "user": { "id": "u1" }, "grace": grace });
        daemon.post_as_game("/v1/rooms", body).send()
    };
    let opened = by_game(7200).await.expect(201);
    assert_eq!(opened["seat"]["hold_seconds"], 7200);
    let too_long = by_game(7201).await;
    assert_eq!(too_long.refusal(), (400, "BAD_REQUEST"));
    assert!(too_long.text.contains("session.ttl"), "{too_long:?}");
}

async fn a_game_server_keeps_a_seat_for_longer_and_a_crash_changes_nothing(database: Database) {
    let mut daemon = Daemon::on(database)
        .with_api_key()
        .set("kind.table.grace", "60s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;

    let kept = keep(&daemon, &guest, 900).await;
    let again = keep(&daemon, &guest, 900).await;
    let shorter = keep(&daemon, &guest, 5).await;

    assert_eq!(kept["status"], "away");
    assert_eq!(kept["hold_seconds"], 900);
    assert_eq!(again["hold_seconds"], 900);
    assert!(shorter["hold_seconds"].as_u64().unwrap() > 800, "{shorter}");
    let told = watching.hears_news(&host.channel, "seat.away").await;
    assert_eq!(told["hold_seconds"], 900);
    assert_eq!(told["user"]["id"], guest.user);
    daemon.restart().await;
    let left = own_seat(&daemon, &guest).await["hold_seconds"].as_u64();
    assert!((850..=904).contains(&left.unwrap()), "{left:?}");

    // Back, and away again: the next hold is as long as any.
    let (client, data) = guest.connects(&daemon).await;
    assert_eq!(data["seats"][0]["hold_seconds"], 60);
    let held = keep(&daemon, &guest, 900).await;
    assert_eq!(
        (&held["status"], &held["hold_seconds"]),
        (&json!("held"), &json!(60))
    );
    client.drops_the_line();
    is_left(&daemon, &guest, "away").await;
    let left = own_seat(&daemon, &guest).await["hold_seconds"].as_u64();
    assert!(left.unwrap() <= 60, "{left:?}");
}

async fn a_hold_that_was_made_longer_ends_all_the_same(database: Database) {
    let daemon = Daemon::on(database)
        .with_api_key()
        .set("kind.table.grace", "2s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;

    keep(&daemon, &guest, 5).await;

    is_left(&daemon, &host, "empty").await;
    assert_eq!(guest.seat_in_room(&daemon).await["status"], "away");
    is_left(&daemon, &guest, "empty").await;
    assert_eq!(own_seat(&daemon, &guest).await, Value::Null);
    let late = daemon.post_as_game(&hold_of(&guest), json!({ "seconds": 5 }));
    assert_eq!(late.send().await.refusal(), (404, "SEAT_NOT_FOUND"));
}

async fn only_the_game_server_keeps_seats_and_only_those_that_are_there(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let host = Player::opens(&daemon).await;
    let path = hold_of(&host);
    let wish = json!({ "seconds": 60 });

    for request in [
        daemon.post(&path, wish.clone()),
        daemon.post(&path, wish.clone()).by(&host.token),
        daemon
            .post(&path, wish.clone())
            .header("x-api-key", "a-key"),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.refusal(), (401, "TOKEN_INVALID"));
    }
    let room = |rest: &str| format!("/v1/rooms/{}/seats/{rest}/hold", host.room);
    for (path, body, expected) in [
        (room("1"), wish.clone(), (404, "SEAT_NOT_FOUND")),
        (room("6"), wish.clone(), (404, "SEAT_NOT_FOUND")),
        (room("x"), wish.clone(), (404, "SEAT_NOT_FOUND")),
        (room("70000"), wish.clone(), (404, "SEAT_NOT_FOUND")),
        (
            "/v1/rooms/222222/seats/0/hold".to_owned(),
            wish.clone(),
            (404, "ROOM_NOT_FOUND"),
        ),
        (path.clone(), json!({}), (400, "BAD_REQUEST")),
        (path.clone(), json!({ "seconds": -5 }), (400, "BAD_REQUEST")),
        (
            path.clone(),
            json!({ "seconds": 7 * 86_400 + 1 }),
            (400, "BAD_REQUEST"),
        ),
    ] {
        let answer = daemon.post_as_game(&path, body.clone()).send().await;
        assert_eq!(answer.refusal(), expected, "{path} {body}");
    }
}

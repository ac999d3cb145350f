//! Requests with a key: however often they come, they are carried out once and answered the same.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use holdfast::id::random_bytes;
use serde_json::{Value, json};

use crate::support::{
    API_KEY, Answer, Client, Daemon, Database, Player, Refusal, Request, eventually,
    on_both_databases, repeated,
};

on_both_databases!(
    a_guest_who_repeats_a_create_gets_the_same_room_and_one_more_token,
    every_change_over_http_is_made_once,
    every_change_over_the_socket_is_made_once,
    a_seat_token_shown_twice_under_a_key_opens_one_session,
    many_who_show_one_seat_token_under_one_key_are_one_session,
    a_game_server_has_keys_of_its_own_for_all_its_users,
    of_a_game_servers_many_keys_none_is_forgotten,
    a_hold_that_is_asked_for_twice_under_a_key_is_made_longer_once,
    a_key_is_good_on_the_socket_and_over_http,
    a_key_stands_for_one_request,
    a_refused_request_may_be_tried_again_under_its_key,
    many_repeats_at_once_are_one_change_and_one_answer,
    a_repeat_is_answered_after_a_crash_and_after_the_room_has_gone_on,
    the_end_of_a_session_is_answered_although_it_is_over,
    the_first_token_and_the_newest_stay_good,
    of_many_keys_the_oldest_is_forgotten,
    neither_keys_nor_tokens_are_stored_as_they_are,
    what_is_asked_once_happens_once_though_the_daemon_is_killed_again_and_again,
);

/// Clients that repeat what they ask while the daemon is killed again and again.
const CLIENTS: usize = 64;

/// How often it is killed.
const KILLS: usize = 5;

/// The same in a run of `tests/long`.
const KILLS_LONG: usize = 20;

/// A key as a client should draw it.
fn key() -> String {
    format!("{:032x}", u128::from_be_bytes(random_bytes()))
}

/// An answer without what no two answers share.
fn without_token(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(session) = answer["session"].as_object_mut() {
        session.remove("token");
    }
    let seats = match answer["seats"].is_array() {
        true => answer["seats"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .collect(),
        false => vec![&mut answer["seat"]],
    };
    for seat in seats.into_iter().filter_map(Value::as_object_mut) {
        seat.remove("token");
        seat.remove("token_expires_at");
    }
    answer
}

fn token(answer: &Value) -> &str {
    answer["session"]["token"].as_str().expect("a token")
}

/// Sends the same request twice; both answers.
async fn twice(status: u16, request: impl Fn() -> Request) -> (Value, Value) {
    let first = request().send().await.expect(status);
    let second = request().send().await.expect(status);
    (first, second)
}

async fn a_guest_who_repeats_a_create_gets_the_same_room_and_one_more_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let body = json!({ "guest": { "name": "Ana" }, "settings": { "map": "north" } });
    let key = key();

    let (first, second) = twice(201, || {
        daemon
            .post("/v1/rooms", body.clone())
            .header("idempotency-key", &key)
    })
    .await;

    assert_eq!(without_token(&first), without_token(&second));
    assert_ne!(token(&first), token(&second));
    for answer in [&first, &second] {
        let (_client, data) = Player::from(answer).connects(&daemon).await;
        assert_eq!(data["seats"][0]["room"], first["room"]["code"]);
    }
    for table in ["rooms", "users", "app_sessions", "room_seats", "commands"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(daemon.store().count(&sql).await, 1, "{table}");
    }
    let repeated = daemon.metric("holdfast_commands_repeated_total").await;
    assert_eq!(repeated, 1);
}

async fn every_change_over_http_is_made_once(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let host = Player::opens(&daemon).await;
    let join = format!("/v1/rooms/{}/join", host.room);
    let guest = json!({ "guest": { "name": "Bo" } });
    let game = json!({ "user": { "id": "steam:7" }, "kind": "duel" });
    let requests = [
        ("/v1/sessions", &guest, 201),
        (&*join, &guest, 200),
        ("/v1/quick-match", &guest, 200),
        ("/v1/rooms", &guest, 201),
    ];

    for (path, body, status) in requests {
        let key = key();
        let (first, second) = twice(status, || {
            daemon
                .post(path, body.clone())
                .header("idempotency-key", &key)
        })
        .await;
        assert_eq!(without_token(&first), without_token(&second), "{path}");
        assert_ne!(token(&first), token(&second), "{path}");
    }
    for (path, status, is_new) in [
        ("/v1/rooms", 201, true),
        ("/v1/sessions", 201, true),
        // The user sits in the room that is found, so its session is the one from before.
        ("/v1/quick-match", 200, false),
    ] {
        let (first, second) = twice(status, || {
            let request = daemon.post_as_game(path, game.clone());
            request.header("idempotency-key", path)
        })
        .await;
        assert_eq!(without_token(&first), without_token(&second), "{path}");
        assert_eq!(first["user"]["name"], "steam:7");
        let is_same = first["session"]["token"] == second["session"]["token"];
        assert_eq!(is_same, !is_new, "{path}");
    }
    let (first, second) = twice(201, || {
        let request = daemon.post("/v1/rooms", json!({}));
        request.by(&host.token).header("idempotency-key", "\"k\"")
    })
    .await;
    assert_eq!(without_token(&first), without_token(&second));
    assert_eq!(first["session"].get("token"), None);

    // The host, four guests and the game's user, who asked three times.
    let count = async |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        daemon.store().count(&sql).await
    };
    assert_eq!(count("users").await, 6);
    assert_eq!(count("app_sessions").await, 7);
}

async fn every_change_over_the_socket_is_made_once(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let ana = Player::opens(&daemon).await;
    let mut client = ana.sits_down(&daemon).await;
    let calls = [
        ("room.open", json!({ "kind": "duel", "key": "1" })),
        ("room.join", json!({ "room": host.room, "key": "2" })),
        ("room.leave", json!({ "room": host.room, "key": "3" })),
        (
            "seat.claim",
            json!({ "room": host.room, "seat": 3, "key": "4" }),
        ),
        ("seat.release", json!({ "room": host.room, "key": "5" })),
        ("match.quick", json!({ "key": "6" })),
    ];

    let mut answers = Vec::new();
    for (method, data) in &calls {
        let first = client.calls(method, data.clone()).await.unwrap();
        let second = client.calls(method, data.clone()).await.unwrap();
        assert_eq!(without_token(&first), without_token(&second), "{method}");
        answers.push(first);
    }
    let seats = client.calls("session.get", json!({})).await.unwrap();
    daemon.restart().await;
    let mut client = ana.sits_down(&daemon).await;
    for ((method, data), answer) in calls.iter().zip(&answers) {
        let again = client.calls(method, data.clone()).await.unwrap();
        assert_eq!(without_token(&again), without_token(answer), "{method}");
    }

    assert_eq!(answers[3]["seat"]["seat"], 3);
    assert_eq!(answers[4], json!({}));
    let rooms = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(rooms).await, 3);
    let seats_after = client.calls("session.get", json!({})).await.unwrap();
    let bare = |answer: &Value| -> Vec<Value> {
        let seats = answer["seats"].as_array().unwrap().iter();
        seats
            .map(|seat| without_token(&json!({ "seat": seat })))
            .collect()
    };
    assert_eq!(bare(&seats_after), bare(&seats));
}

/// Shows a seat token over HTTP, under a key.
async fn shows(daemon: &Daemon, seat_token: &str, key: &str) -> Answer {
    let body = json!({ "seat_token": seat_token });
    let request = daemon.post("/v1/sessions", body);
    request.header("idempotency-key", key).send().await
}

async fn a_seat_token_shown_twice_under_a_key_opens_one_session(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let (_client, data) = ana.connects(&daemon).await;
    let seat_token = data["seats"][0]["token"].as_str().unwrap();
    let key = key();
    let seats = "SELECT user_id || ' ' || seat || ' ' || token_generation FROM room_seats";

    let first = shows(&daemon, seat_token, &key).await.expect(201);
    let stored = daemon.store().texts(seats).await;
    let second = shows(&daemon, seat_token, &key).await.expect(201);
    daemon.kill();
    daemon.restart().await;
    let third = shows(&daemon, seat_token, &key).await.expect(201);

    assert_ne!(first["session"]["id"], ana.session.as_str());
    assert_eq!(first["seats"][0]["room"], ana.room);
    let mut tokens = vec![token(&first)];
    for answer in [&second, &third] {
        assert_eq!(without_token(answer), without_token(&first));
        assert!(!tokens.contains(&token(answer)), "one more token each time");
        tokens.push(token(answer));
    }
    for token in tokens {
        let (mut client, result) = Client::connect(daemon.address(), token).await;
        assert_eq!(result["data"]["session"]["id"], first["session"]["id"]);
        assert_eq!(result["data"]["seats"][0]["room"], ana.room);
        client.subscribes(&ana.channel).await.unwrap();
    }
    // The seat is told with a token that is good.
    let again = third["seats"][0]["token"].as_str().unwrap();
    let other_content = shows(&daemon, again, &key).await;
    assert_eq!(other_content.refusal(), (422, "KEY_REUSED"));
    assert_eq!(daemon.store().texts(seats).await, stored);
    let sessions = "SELECT count(*) FROM app_sessions";
    assert_eq!(daemon.store().count(sessions).await, 2);
    let reused = "holdfast_seat_tokens_refused_total{reason=\"reused\"}";
    assert_eq!(daemon.metric(reused).await, 0);
    let with_other_key = shows(&daemon, again, &self::key()).await.expect(201);
    assert_ne!(with_other_key["session"]["id"], first["session"]["id"]);
    // Who finds the token must not find the session that it has opened.
    for weak in ["k", "come-back-1"] {
        let answer = shows(&daemon, again, weak).await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"), "{weak}");
    }
}

async fn many_who_show_one_seat_token_under_one_key_are_one_session(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let (_client, data) = ana.connects(&daemon).await;
    let seat_token = data["seats"][0]["token"].as_str().unwrap();
    let key = key();

    let answers = join_all((0..16).map(|_| shows(&daemon, seat_token, &key))).await;

    let answers = answers.into_iter().map(|answer| answer.expect(201));
    let answers: Vec<Value> = answers.collect();
    for answer in &answers {
        assert_eq!(without_token(answer), without_token(&answers[0]));
    }
    let sessions = "SELECT count(*) FROM app_sessions";
    assert_eq!(daemon.store().count(sessions).await, 2);
    let mut good = 0;
    for answer in &answers {
        let seen = daemon.get("/v1/session").by(token(answer)).send().await;
        if seen.status == 200 {
            assert_eq!(seen.body["seats"][0]["room"], ana.room);
            good += 1;
        }
    }
    assert_eq!(
        good, 8,
        "of the tokens of a session the first stays, and the newest"
    );
}

async fn a_game_server_has_keys_of_its_own_for_all_its_users(database: Database) {
    const OTHER: &str = "a-key-of-32-random-characters-01";
    let daemon = Daemon::on(database)
        .set("auth.api_keys", &json!([API_KEY, OTHER]).to_string())
        .start()
        .await;
    let open = async |api_key: &str, user: Value| {
        let request = daemon.post("/v1/rooms", json!({ "user": user }));
        let request = request.header("x-api-key", api_key);
        request.header("idempotency-key", "k").send().await
    };
    let ana = json!({ "id": "ana" });

    let first = open(API_KEY, ana.clone()).await.expect(201);
    let again = open(API_KEY, ana.clone()).await.expect(201);
    let for_another = open(API_KEY, json!({ "id": "bo" })).await;
    let by_another_name = open(API_KEY, json!({ "id": "ana", "name": "Ana" })).await;
    let by_another_server = open(OTHER, ana).await.expect(201);
    let request = daemon.post("/v1/rooms", json!({})).by(token(&first));
    let by_the_user = request.header("idempotency-key", "k").send().await;
    let by_the_user = by_the_user.expect(201);

    assert_eq!(without_token(&again), without_token(&first));
    assert_eq!(for_another.refusal(), (422, "KEY_REUSED"));
    assert_eq!(by_another_name.refusal(), (422, "KEY_REUSED"));
    assert_ne!(by_another_server["room"]["id"], first["room"]["id"]);
    assert_ne!(by_the_user["room"]["id"], first["room"]["id"]);
    let scopes = "SELECT scope FROM commands ORDER BY scope";
    let scopes = daemon.store().texts(scopes).await;
    let is_of = |of: &str| scopes.iter().filter(|scope| scope.starts_with(of)).count();
    assert_eq!((is_of("api_key:"), is_of("session:")), (2, 1), "{scopes:?}");
    assert_eq!(scopes.len(), 3, "{scopes:?}");
    for key in [API_KEY, OTHER] {
        assert!(!scopes.iter().any(|scope| scope.contains(key)));
    }
    let users = "SELECT count(*) FROM users";
    assert_eq!(daemon.store().count(users).await, 1, "nothing half done");
}

async fn of_a_game_servers_many_keys_none_is_forgotten(database: Database) {
    const MANY: usize = 100;
    let daemon = Daemon::on(database).with_api_key().start().await;
    let open = async |number: usize| {
        let body = json!({ "user": { "id": format!("user-{number}") } });
        let request = daemon.post_as_game("/v1/rooms", body);
        let request = request.header("idempotency-key", &format!("open-{number}"));
        without_token(&request.send().await.expect(201))
    };

    let first = join_all((0..MANY).map(&open)).await;
    let again = join_all((0..MANY).map(&open)).await;

    assert_eq!(again, first);
    let rooms = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(rooms).await, MANY as i64);
}

async fn a_hold_that_is_asked_for_twice_under_a_key_is_made_longer_once(database: Database) {
    let mut daemon = Daemon::on(database).with_api_key().start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let _host = host.sits_down(&daemon).await;
    let keep = async |daemon: &Daemon, player: &Player, seconds: u64| {
        let seat = player.seat.unwrap();
        let path = format!("/v1/rooms/{}/seats/{seat}/hold", player.room);
        let request = daemon.post_as_game(&path, json!({ "seconds": seconds }));
        let key = format!("keep-{seat}");
        request.header("idempotency-key", &key).send().await
    };
    let ends = "SELECT CAST(hold_until AS text) FROM room_seats WHERE status = 'away'";

    let away = keep(&daemon, &guest, 900).await.expect(200);
    let held = keep(&daemon, &host, 900).await.expect(200);
    let end = daemon.store().texts(ends).await;
    let again = keep(&daemon, &guest, 900).await.expect(200);
    assert_eq!(daemon.store().texts(ends).await, end);
    let other = keep(&daemon, &guest, 901).await;
    daemon.restart().await;
    let after = keep(&daemon, &guest, 900).await.expect(200);
    let held_after = keep(&daemon, &host, 900).await.expect(200);

    assert_eq!(away["seat"]["status"], "away");
    assert_eq!(away["seat"]["hold_seconds"], 900);
    assert_eq!((&again, &after), (&away, &away));
    assert_eq!(other.refusal(), (422, "KEY_REUSED"));
    assert_eq!(held["seat"]["status"], "held");
    assert_eq!(held_after, held, "also what changed nothing");
}

async fn a_key_is_good_on_the_socket_and_over_http(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let (mut client, _) = ana.connects(&daemon).await;

    let data = json!({ "kind": "duel", "key": "both" });
    let on_socket = client.calls("room.open", data).await.unwrap();
    let request = daemon.post("/v1/rooms", json!({ "kind": "duel" }));
    let request = request.by(&ana.token).header("idempotency-key", "both");
    let over_http = request.send().await.expect(201);

    assert_eq!(on_socket["room"], over_http["room"]);
    assert_eq!(on_socket["seat"], over_http["seat"]);
}

async fn a_key_stands_for_one_request(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let other = Player::opens(&daemon).await;
    let (mut client, _) = ana.connects(&daemon).await;
    let open = async |body: Value, token: &str| {
        let request = daemon.post("/v1/rooms", body).by(token);
        request.header("idempotency-key", "k").send().await
    };
    open(json!({ "kind": "duel" }), &ana.token)
        .await
        .expect(201);

    let other_content = open(json!({ "kind": "table" }), &ana.token).await;
    let other_method = client.calls("match.quick", json!({ "kind": "duel", "key": "k" }));
    let other_method = other_method.await.unwrap_err();
    let other_session = open(json!({ "kind": "table" }), &other.token).await;
    // What no request knows is no part of it, and neither is the order of its fields.
    let same = open(json!({ "colour": "red", "kind": "duel" }), &ana.token).await;

    assert_eq!(other_content.refusal(), (422, "KEY_REUSED"));
    assert_eq!(other_method, Refusal::error(1010, "KEY_REUSED"));
    assert_eq!(other_session.status, 201, "{other_session:?}");
    assert_eq!(same.status, 201, "{same:?}");
    let duels = "SELECT count(*) FROM rooms WHERE kind = 'duel'";
    assert_eq!(daemon.store().count(duels).await, 1);

    let guest = key();
    let as_guest = async |name: &str| {
        let body = json!({ "guest": { "name": name } });
        let request = daemon.post("/v1/sessions", body);
        request.header("idempotency-key", &guest).send().await
    };
    as_guest("Ana").await.expect(201);
    assert_eq!(as_guest("Bo").await.refusal(), (422, "KEY_REUSED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_none_is_refused_with_what_is_wrong() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let ana = Player::opens(&daemon).await;
    let (mut client, _) = ana.connects(&daemon).await;
    let long = "x".repeat(129);
    let wrong = [
        ("", "must not be empty"),
        (&*long, "at most 128 bytes, this one has 129"),
        ("two words", "visible ASCII characters only"),
        ("a\\b", "visible ASCII characters only"),
    ];

    for (key, detail) in wrong {
        let request = daemon.post("/v1/rooms", json!({})).by(&ana.token);
        let answer = request.header("idempotency-key", key).send().await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"), "{key}");
        let told = answer.body["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{told}");
        let refusal = client.calls("room.open", json!({ "key": key })).await;
        let Err(Refusal::Error { code: 107, message }) = refusal else {
            panic!("{key}: {refusal:?}");
        };
        assert!(message.contains(detail), "{message}");
    }
    let number = client.calls("room.open", json!({ "key": 7 })).await;
    let message = "BAD_REQUEST: key must be text";
    assert_eq!(number, Err(Refusal::error(107, message)));

    // A guest has nothing else to show, so a key that can be guessed would open somebody's session.
    for weak in ["k", "join-1", "0123456789abcdef0123456789abcde"] {
        let body = json!({ "guest": { "name": "Bo" } });
        let request = daemon.post("/v1/sessions", body);
        let answer = request.header("idempotency-key", weak).send().await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"), "{weak}");
        let told = answer.body["detail"].as_str().unwrap();
        assert!(told.contains("128 random bits"), "{told}");
    }
    assert_eq!(
        daemon.store().count("SELECT count(*) FROM commands").await,
        0
    );
}

async fn a_refused_request_may_be_tried_again_under_its_key(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let other = Player::joins(&daemon, &host.room).await;
    let key = key();
    let join = async || {
        let body = json!({ "guest": { "name": "Cy" } });
        let request = daemon.post(&format!("/v1/rooms/{}/join", host.room), body);
        request.header("idempotency-key", &key).send().await
    };

    let while_full = join().await;
    let (mut client, _) = other.connects(&daemon).await;
    let room = json!({ "room": host.room });
    client.calls("seat.release", room).await.unwrap();
    let with_room = join().await.expect(200);
    let again = join().await.expect(200);

    assert_eq!(while_full.refusal(), (409, "ROOM_FULL"));
    assert_eq!(with_room["seat"]["seat"], 1);
    assert_eq!(without_token(&with_room), without_token(&again));
}

async fn many_repeats_at_once_are_one_change_and_one_answer(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let join = format!("/v1/rooms/{}/join", host.room);

    for (path, status) in [("/v1/rooms", 201), (&*join, 200), ("/v1/quick-match", 200)] {
        let key = key();
        let body = json!({ "guest": { "name": "Bo" }, "kind": "duel" });
        let answers = join_all((0..16).map(|_| {
            let request = daemon.post(path, body.clone());
            request.header("idempotency-key", &key).send()
        }))
        .await;
        let answers: Vec<Value> = answers
            .into_iter()
            .map(|answer| answer.expect(status))
            .collect();
        for answer in &answers {
            let first = without_token(&answers[0]);
            assert_eq!(without_token(answer), first, "{path}");
        }
    }

    let seats = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(seats).await, 4);
    let users = "SELECT count(*) FROM users";
    assert_eq!(daemon.store().count(users).await, 4);
}

async fn a_repeat_is_answered_after_a_crash_and_after_the_room_has_gone_on(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let body = json!({ "guest": { "name": "Ana" }, "kind": "duel" });
    let key = key();
    let open = async |daemon: &Daemon| {
        let request = daemon.post("/v1/rooms", body.clone());
        let request = request.header("idempotency-key", &key);
        request.send().await.expect(201)
    };
    let first = open(&daemon).await;
    let ana = Player::from(&first);
    Player::joins(&daemon, &ana.room).await;
    let mut client = ana.sits_down(&daemon).await;
    let leave = json!({ "room": ana.room });
    client.calls("room.leave", leave).await.unwrap();
    daemon.kill();
    daemon.restart().await;

    let again = open(&daemon).await;

    assert_eq!(without_token(&again), without_token(&first));
    let room = daemon.room(&ana.room).await;
    assert_eq!(room["seats"][0]["status"], "empty", "nothing was done anew");
    let (_client, data) = Player::from(&again).connects(&daemon).await;
    assert_eq!(data["session"]["id"], ana.session);
}

async fn the_end_of_a_session_is_answered_although_it_is_over(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let bo = Player::opens(&daemon).await;
    let end = async |daemon: &Daemon, player: &Player, key: &str| {
        let request = daemon.delete("/v1/session").by(&player.token);
        request.header("idempotency-key", key).send().await
    };
    let (mut client, _) = bo.connects(&daemon).await;
    let ended = client.calls("session.end", json!({ "key": "end" })).await;

    assert_eq!(ended, Ok(json!({})));
    assert_eq!(end(&daemon, &ana, "end").await.status, 204);
    daemon.restart().await;
    for player in [&ana, &bo] {
        assert_eq!(end(&daemon, player, "end").await.status, 204);
        let other = end(&daemon, player, "other").await;
        assert_eq!(other.refusal(), (401, "SESSION_ENDED"));
        let plain = daemon.delete("/v1/session").by(&player.token);
        assert_eq!(plain.send().await.refusal(), (401, "SESSION_ENDED"));
    }
    // A key of a session that has ended makes no new token for it.
    let key = key();
    let body = json!({ "guest": { "name": "Cy" } });
    let open = async || {
        let request = daemon.post("/v1/sessions", body.clone());
        request.header("idempotency-key", &key).send().await
    };
    let opened = open().await.expect(201);
    let request = daemon.delete("/v1/session").by(token(&opened));
    assert_eq!(request.send().await.status, 204);
    assert_eq!(open().await.refusal(), (401, "SESSION_ENDED"));
}

async fn the_first_token_and_the_newest_stay_good(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let key = key();
    let mut tokens = Vec::new();
    for _ in 0..12 {
        let request = daemon.post("/v1/sessions", json!({ "guest": { "name": "Ana" } }));
        let answer = request.header("idempotency-key", &key).send().await;
        tokens.push(token(&answer.expect(201)).to_owned());
    }

    let mut good = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let answer = daemon.get("/v1/session").by(token).send().await;
        if answer.status == 200 {
            good.push(number);
        } else {
            assert_eq!(answer.refusal(), (401, "TOKEN_INVALID"));
        }
    }
    assert_eq!(good, [0, 5, 6, 7, 8, 9, 10, 11]);
}

async fn of_many_keys_the_oldest_is_forgotten(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.messages_per_second", "1000")
        .set("session.changes_per_second", "0")
        .start()
        .await;
    let ana = Player::opens(&daemon).await;
    let (mut client, _) = ana.connects(&daemon).await;
    let mut join = async |number: usize| {
        let data = json!({ "room": ana.room, "key": format!("k{number}") });
        client.calls("room.join", data).await.unwrap()
    };
    for number in 0..64 {
        join(number).await;
    }
    let count = async |sql: &str| daemon.store().count(sql).await;
    let oldest = "SELECT min(created_at) FROM commands";
    let (all, first) = (
        count("SELECT count(*) FROM commands").await,
        count(oldest).await,
    );
    // The clock must move on, or two of them are equally old.
    eventually("another millisecond", async || {
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 2 {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
    .await;

    join(64).await;

    assert_eq!(all, 64);
    assert_eq!(count("SELECT count(*) FROM commands").await, 64);
    assert!(count(oldest).await > first);
}

async fn neither_keys_nor_tokens_are_stored_as_they_are(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let key = key();
    let (first, second) = twice(201, || {
        let body = json!({ "guest": { "name": "Ana" } });
        let request = daemon.post("/v1/rooms", body);
        request.header("idempotency-key", &key)
    })
    .await;

    let columns = "SELECT scope || key || answer FROM commands";
    let stored = daemon.store().texts(columns).await;
    assert_eq!(stored.len(), 1);
    assert!(stored[0].contains(first["room"]["code"].as_str().unwrap()));
    let log = daemon.log();
    for secret in [&*key, token(&first), token(&second)] {
        assert!(!stored[0].contains(secret));
        assert!(!log.contains(secret));
    }
    assert!(!stored[0].contains("hfs_"));
}

/// What a client has asked for under a key.
#[derive(Debug, Clone)]
enum Asked {
    /// The game opens a room for its user, which costs a credit.
    Open { user: String, key: String },
    /// The player gives the seat up, over the socket.
    Release {
        token: String,
        room: String,
        key: String,
    },
    /// A guest opens a room.
    Guest { key: String },
}

impl Asked {
    /// Asks until there is an answer; a daemon that is down, or has no time, is asked again.
    async fn insist(&self, address: SocketAddr) -> Value {
        eventually(&format!("an answer to {self:?}"), async || match self {
            Asked::Open { user, key } => {
                let body = json!({ "user": { "id": user } });
                let request = Request::new(address, "POST", "/v1/rooms");
                let request = request.header("x-api-key", API_KEY);
                let request = request.header("idempotency-key", key).json(&body);
                created(request.try_send().await)
            }
            Asked::Guest { key } => {
                let body = json!({ "guest": { "name": "Guest" }, "kind": "duel" });
                let request = Request::new(address, "POST", "/v1/rooms");
                let request = request.header("idempotency-key", key).json(&body);
                created(request.try_send().await)
            }
            Asked::Release { token, room, key } => {
                let mut client = Client::try_dial(address).await?;
                let connected = client.connects(token).await;
                connected.map_err(|refusal| passing(&refusal))?;
                let data = json!({ "room": room, "key": key });
                let released = client.calls("seat.release", data).await;
                released.map_err(|refusal| passing(&refusal))
            }
        })
        .await
    }
}

/// The answer, or why to ask again.
fn created(answer: Result<Answer, String>) -> Result<Value, String> {
    let answer = answer?;
    match answer.status {
        503 => Err(format!("{answer:?}")),
        _ => Ok(answer.expect(201)),
    }
}

#[track_caller]
fn passing(refusal: &Refusal) -> String {
    let is_passing = match refusal {
        Refusal::Error { code, .. } => *code == 100,
        Refusal::Closed { code, .. } => [1006, 3011].contains(code),
    };
    assert!(is_passing, "{refusal:?}");
    format!("{refusal:?}")
}

async fn what_is_asked_once_happens_once_though_the_daemon_is_killed_again_and_again(
    database: Database,
) {
    let mut daemon = Daemon::on(database)
        .with_api_key()
        .set("kind.table.cost", "1")
        .start()
        .await;
    let address = daemon.address();
    let users: Vec<String> = (0..CLIENTS)
        .map(|number| format!("user-{number}"))
        .collect();
    for id in &users {
        let request = daemon.post_as_game("/v1/sessions", json!({ "user": { "id": id } }));
        request.send().await.expect(201);
    }
    let credits = "UPDATE users SET credits = 1000";
    daemon.store().execute(credits).await;

    let mut asked: Vec<(Asked, Value)> = Vec::new();
    let kills = repeated(KILLS, KILLS_LONG);
    for _ in 0..kills {
        let answered = AtomicUsize::new(0);
        // Two for each of three requests of each client: the kill comes anywhere among them.
        let kill_after = usize::from(random_bytes::<1>()[0]);
        let players = join_all(users.iter().map(|user| plays(address, user, &answered)));
        let killer = async {
            eventually("requests are answered", async || {
                let count = answered.load(Ordering::Relaxed);
                let is_time = count >= kill_after;
                is_time.then_some(()).ok_or(format!("{count} so far"))
            })
            .await;
            daemon.kill();
            daemon.restart().await;
        };
        let (players, ()) = tokio::join!(players, killer);
        asked.extend(players.into_iter().flatten());
    }

    stream::iter(&asked)
        .for_each_concurrent(CLIENTS, async |(asked, first)| {
            let again = asked.insist(address).await;
            assert_eq!(without_token(&again), *first, "{asked:?}");
        })
        .await;
    let each = (CLIENTS * kills) as i64;
    let left = 1000 - kills;
    for (sql, expected) in [
        (
            "SELECT count(*) FROM rooms WHERE kind = 'table'".to_owned(),
            each,
        ),
        (
            "SELECT count(*) FROM rooms WHERE kind = 'duel'".to_owned(),
            each,
        ),
        ("SELECT count(*) FROM users WHERE is_guest".to_owned(), each),
        ("SELECT count(*) FROM room_seats".to_owned(), each),
        (
            format!("SELECT count(*) FROM users WHERE credits = {left}"),
            CLIENTS as i64,
        ),
    ] {
        assert_eq!(daemon.store().count(&sql).await, expected, "{sql}");
    }
}

/// One client's three requests, each sent twice, at the same time if it can be; what was asked, and the
/// answers.
async fn plays(address: SocketAddr, user: &str, answered: &AtomicUsize) -> Vec<(Asked, Value)> {
    let ask = async |asked: Asked| {
        let (first, second) = match asked {
            // A newer connection of one session would cut the older one off.
            Asked::Release { .. } => (asked.insist(address).await, asked.insist(address).await),
            Asked::Open { .. } | Asked::Guest { .. } => {
                tokio::join!(asked.insist(address), asked.insist(address))
            }
        };
        answered.fetch_add(2, Ordering::Relaxed);
        assert_eq!(without_token(&first), without_token(&second), "{asked:?}");
        (asked, first)
    };
    let open = Asked::Open {
        user: user.to_owned(),
        key: key(),
    };
    let (open, opened) = ask(open).await;
    let release = Asked::Release {
        token: token(&opened).to_owned(),
        room: opened["room"]["code"].as_str().unwrap().to_owned(),
        key: key(),
    };
    let guest = Asked::Guest { key: key() };
    let (release, released) = ask(release).await;
    let (guest, entered) = ask(guest).await;
    [(open, opened), (release, released), (guest, entered)]
        .map(|(asked, answer)| (asked, without_token(&answer)))
        .into()
}

//! Those who make players, rooms and seats without end, and what it leaves to all others.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::Honest;
use crate::support::{
    Answer, Client, Daemon, Database, Player, Refusal, eventually, on_both_databases,
};

on_both_databases!(a_user_holds_sixteen_seats_however_it_asks_for_more);

/// As it ships.
const SEATS_MAX: usize = 16;

/// More tries than any limit here admits in the time that they take.
const TRIES_MAX: usize = 2_000;

/// Requests at one time.
const AT_ONCE: usize = 25;

const LIMITED: (u16, &str) = (429, "RATE_LIMITED");

/// As it ships, with the fifty honest players counted as one address.
async fn start() -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("auth.newcomers_per_minute", "300")
        .set("server.trusted_proxies", "[\"127.0.0.1/32\"]")
        .with_api_key()
        .start()
        .await
}

/// Asks until some are refused, which must happen at last; those that were not.
async fn until_limited(ask: impl AsyncFn() -> Answer) -> Vec<Answer> {
    let mut admitted = Vec::new();
    while admitted.len() < TRIES_MAX {
        let answers = join_all((0..AT_ONCE).map(|_| ask())).await;
        let (refused, done): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status >= 400);
        admitted.extend(done);
        for answer in &refused {
            assert_eq!(answer.refusal(), LIMITED);
            let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
        }
        if !refused.is_empty() {
            return admitted;
        }
    }
    panic!("{TRIES_MAX} of these are admitted");
}

fn guest() -> Value {
    json!({ "guest": { "name": "Eve" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_makes_players_and_rooms_without_end_is_refused_and_nobody_else_is() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let host = Player::opens(&daemon).await;
    let (mut settled, _) = host.connects(&daemon).await;
    let join = format!("/v1/rooms/{}/join", host.room);

    let made = until_limited(async || daemon.post("/v1/sessions", guest()).send().await).await;
    assert!(
        made.len() >= 40,
        "a class on one address is no attack: {}",
        made.len()
    );
    for path in ["/v1/rooms", "/v1/quick-match", &join] {
        until_limited(async || daemon.post(path, guest()).send().await).await;
    }
    let mut tries = 0;
    let refused = loop {
        let mut client = Client::dial(daemon.address()).await;
        match client.asks("connect", json!({})).await {
            Err(refused) => break refused,
            Ok(_) => tries += 1,
        }
        assert!(tries < TRIES_MAX);
    };
    assert_eq!(refused, Refusal::error(111, "RATE_LIMITED"));

    // Whoever is there already goes on, and comes back.
    drop(settled);
    (settled, _) = host.connects(&daemon).await;
    settled.subscribes(&host.channel).await.unwrap();
    let again = daemon.post("/v1/sessions", json!({}));
    again.by(&host.token).send().await.expect(200);
    let room = json!({ "room": host.room });
    settled.calls("room.leave", room.clone()).await.unwrap();
    settled.calls("room.join", room).await.unwrap();
    // So does everybody at another address, and the game's own server.
    let elsewhere = daemon.post("/v1/rooms", guest());
    let elsewhere = elsewhere.header("x-forwarded-for", "203.0.113.2");
    elsewhere.send().await.expect(201);
    let ana = json!({ "user": { "id": "ana" } });
    daemon
        .post_as_game("/v1/rooms", ana)
        .send()
        .await
        .expect(201);
    let limited = daemon
        .metric("holdfast_limited_total{limit=\"newcomers\"}")
        .await;
    assert!(limited >= 5, "{limited}");
    honest
        .have_lost_nothing("players and rooms without end")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_given_again_counts_for_nothing() {
    let daemon = start().await;
    let make = |key: &str| {
        let request = daemon.post("/v1/sessions", guest());
        request.header("idempotency-key", key).send()
    };
    let first = make("5f0c6a2e-91d4-4d6b-8e57-3b1f0a9c7d24")
        .await
        .expect(201);
    until_limited(async || daemon.post("/v1/sessions", guest()).send().await).await;

    for _ in 0..200 {
        let again = make("5f0c6a2e-91d4-4d6b-8e57-3b1f0a9c7d24")
            .await
            .expect(201);
        assert_eq!(again["session"]["id"], first["session"]["id"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_comes_and_goes_without_end_is_refused_wherever_it_asks() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("session.changes_per_second", "1")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let (host, eve) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    let mut client = eve.sits_down(&daemon).await;
    let room = json!({ "room": host.room });

    let mut tries = 0;
    let refused = loop {
        let method = ["room.join", "room.leave"][tries % 2];
        match client.calls(method, room.clone()).await {
            Err(refused) => break refused,
            Ok(_) => tries += 1,
        }
        assert!(tries < TRIES_MAX);
    };
    assert_eq!(refused, Refusal::error(111, "RATE_LIMITED"));
    assert!(tries >= 4, "{tries}");
    let path = format!("/v1/rooms/{}/join", host.room);
    until_limited(async || daemon.post(&path, json!({})).by(&eve.token).send().await).await;

    // It plays on in its own room, and comes back to it.
    client.publishes(&eve.channel, json!("here")).await.unwrap();
    drop(client);
    eve.sits_down(&daemon).await;
    let limited = daemon
        .metric("holdfast_limited_total{limit=\"changes\"}")
        .await;
    assert!(limited >= 2, "{limited}");
    honest.have_lost_nothing("coming and going").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_is_taken_over_without_end_is_refused_and_its_player_keeps_it() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let ana = Player::opens(&daemon).await;
    let (_, data) = ana.connects(&daemon).await;
    let token = json!({ "seat_token": data["seats"][0]["token"] });

    until_limited(async || daemon.post("/v1/sessions", token.clone()).send().await).await;

    // As soon as it may, whoever has the token has the seat.
    let last = eventually("the seat is taken over", async || {
        let answer = daemon.post("/v1/sessions", token.clone()).send().await;
        (answer.status == 201)
            .then(|| answer.body.clone())
            .ok_or(answer.text)
    })
    .await;
    let session = last["session"]["token"].as_str().unwrap();
    let (mut client, result) = Client::connect(daemon.address(), session).await;
    assert_eq!(result["data"]["seats"][0]["room"], ana.room);
    client.subscribes(&ana.channel).await.unwrap();
    honest.have_lost_nothing("take-overs").await;
}

async fn a_user_holds_sixteen_seats_however_it_asks_for_more(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let hosts = join_all((0..20).map(|_| Player::opens(&daemon))).await;

    // Each of these would be a session of its own: half of them open a room, half join one.
    let barrier = Barrier::new(40);
    let asked = join_all((0..40).map(async |number| {
        let path = match hosts.get(number) {
            Some(host) => format!("/v1/rooms/{}/join", host.room),
            None => "/v1/rooms".to_owned(),
        };
        let ana = json!({ "user": { "id": "ana" } });
        let request = daemon.post_as_game(&path, ana);
        barrier.wait().await;
        request.send().await
    }))
    .await;

    let seated: Vec<&Answer> = asked.iter().filter(|answer| answer.status < 300).collect();
    assert_eq!(seated.len(), SEATS_MAX);
    for answer in asked.iter().filter(|answer| answer.status >= 300) {
        assert_eq!(answer.refusal(), (409, "TOO_MANY_SEATS"));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("at most 16 seats"), "{detail}");
    }

    let ana = Player::from(&seated[0].body);
    let (mut client, _) = ana.connects(&daemon).await;
    let refused = client.calls("room.open", json!({})).await;
    assert_eq!(refused, Err(Refusal::error(1016, "TOO_MANY_SEATS")));
    let own = json!({ "room": ana.room });
    client.calls("room.join", own.clone()).await.unwrap();
    client.calls("room.leave", own).await.unwrap();
    client.calls("room.open", json!({})).await.unwrap();
    let refused = client.calls("match.quick", json!({ "kind": "duel" })).await;
    assert_eq!(refused, Err(Refusal::error(1016, "TOO_MANY_SEATS")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_sixteen_seats_is_refused_the_next_one_before_anything_is_written() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("session.changes_per_second", "0")
        .start()
        .await;
    let eve = Player::opens(&daemon).await;
    let open = async || {
        daemon
            .post("/v1/rooms", json!({}))
            .by(&eve.token)
            .send()
            .await
    };
    for _ in 1..SEATS_MAX {
        open().await.expect(201);
    }
    let rooms = daemon.metric("holdfast_rooms").await;
    for _ in 0..100 {
        assert_eq!(open().await.refusal(), (409, "TOO_MANY_SEATS"));
    }
    assert_eq!(daemon.metric("holdfast_rooms").await, rooms);
    let limited = daemon
        .metric("holdfast_limited_total{limit=\"seats\"}")
        .await;
    assert_eq!(limited, 100);
}

/// Only the operator can allow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_more_seats_than_its_queue_can_hold_is_told_so_and_goes_on() {
    // Each takes more than 400 bytes of an answer.
    const SEATS: usize = 50;
    let daemon = Daemon::on(Database::Sqlite)
        .set("session.seats_max", "0")
        .set("session.changes_per_second", "0")
        .set("client.message_max", "4KiB")
        .set("client.queue_bytes_max", "16KiB")
        .start()
        .await;
    let eve = Player::opens(&daemon).await;
    for _ in 1..SEATS {
        let open = daemon.post("/v1/rooms", json!({})).by(&eve.token);
        open.send().await.expect(201);
    }
    let (mut client, data) = eve.connects(&daemon).await;
    assert_eq!(data["seats"].as_array().unwrap().len(), SEATS);

    let refused = client.calls("session.get", json!({})).await;

    assert_eq!(refused.unwrap_err().code(), 106);
    client.subscribes(&eve.channel).await.unwrap();
    let over_http = daemon.get("/v1/session").by(&eve.token).send().await;
    assert_eq!(
        over_http.expect(200)["seats"].as_array().unwrap().len(),
        SEATS
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_can_read_as_it_is_written_is_refused() {
    let daemon = start().await;
    for name in ["Ana\u{202E}nimdA", "A\u{200B}na", "\u{3164}"] {
        let body = json!({ "guest": { "name": name } });
        let answer = daemon.post("/v1/sessions", body.clone()).send().await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("invisible characters"), "{detail}");
        let mut client = Client::dial(daemon.address()).await;
        let refused = client
            .asks("connect", json!({ "data": body["guest"] }))
            .await;
        assert_eq!(refused.unwrap_err().code(), 107);
    }
    let persian = json!({ "guest": { "name": "گل\u{200C}رخ" } });
    daemon
        .post("/v1/sessions", persian)
        .send()
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guests_key_that_was_not_drawn_at_random_is_refused() {
    let daemon = start().await;
    for key in [
        "00000000000000000000000000",
        "121212121212121212121212121212121212",
    ] {
        let request = daemon.post("/v1/sessions", guest());
        let answer = request.header("idempotency-key", key).send().await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"));
    }
}

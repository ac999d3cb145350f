//! Those who guess room codes.

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::{Barrier, Mutex};

use super::{Honest, Vitals};
use crate::support::{Client, Daemon, Database, Player, Refusal};

/// As it ships.
const WRONG_CODES_MAX: usize = 30;

async fn start() -> Daemon {
    start_with(WRONG_CODES_MAX).await
}

async fn start_with(wrong_codes: usize) -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("client.wrong_codes_per_minute", &wrong_codes.to_string())
        .set("server.trusted_proxies", "[\"127.0.0.1/32\"]")
        .with_api_key()
        .start()
        .await
}

/// Codes that no room has, as sure as a code can be.
fn wrong_code(number: usize) -> String {
    const LETTERS: &[u8] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
    let letter = |place: usize| char::from(LETTERS[number / place % LETTERS.len()]);
    format!("ZZZ{}{}{}", letter(900), letter(30), letter(1))
}

async fn guess(daemon: &Daemon, address: &str, code: &str) -> (u16, String) {
    let request = daemon.get(&format!("/v1/rooms/{code}"));
    let answer = request.header("x-forwarded-for", address).send().await;
    if answer.status == 200 {
        return (200, String::new());
    }
    let (status, name) = answer.refusal();
    (status, name.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_guesses_codes_is_refused_right_ones_too_and_others_are_not() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let host = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    for number in 0..WRONG_CODES_MAX {
        let answer = guess(&daemon, "203.0.113.1", &wrong_code(number)).await;
        assert_eq!(answer, (404, "ROOM_NOT_FOUND".to_owned()));
    }

    let limited = (429, "RATE_LIMITED".to_owned());
    assert_eq!(
        guess(&daemon, "203.0.113.1", &wrong_code(99)).await,
        limited
    );
    assert_eq!(guess(&daemon, "203.0.113.1", &host.room).await, limited);
    assert_eq!(guess(&daemon, "203.0.113.2", &host.room).await.0, 200);
    let join = daemon
        .post(
            &format!("/v1/rooms/{}/join", host.room),
            json!({ "guest": { "name": "Eve" } }),
        )
        .header("x-forwarded-for", "203.0.113.1");
    let refused = join.send().await;
    assert_eq!(refused.refusal(), (429, "RATE_LIMITED"));
    let seconds: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    before.come_back(&daemon).await;
    honest.have_lost_nothing("guessed codes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_ipv6_network_and_one_that_changes_its_way_of_asking_count_as_one() {
    let daemon = start().await;
    for number in 0..WRONG_CODES_MAX {
        let address = format!("2001:db8:1:2::{number:x}");
        guess(&daemon, &address, &wrong_code(number)).await;
    }
    assert_eq!(
        guess(&daemon, "2001:db8:1:2:ffff::1", "ZZZZZZ").await.0,
        429
    );
    assert_eq!(guess(&daemon, "2001:db8:1:3::1", "ZZZZZZ").await.0, 404);

    let (host, guesser) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    let (mut client, _) = guesser.connects(&daemon).await;
    for number in 0..WRONG_CODES_MAX {
        let code = wrong_code(number);
        let refusal = match number % 3 {
            0 => client.subscribes(&format!("table:{code}")).await,
            1 => client.calls("room.get", json!({ "room": code })).await,
            _ => client.calls("room.join", json!({ "room": code })).await,
        };
        let code = refusal.unwrap_err().code();
        assert!([102, 1001].contains(&code), "{code}");
    }
    let limited = Refusal::error(111, "RATE_LIMITED");
    for method in ["room.get", "room.join", "seat.claim", "seat.release"] {
        let refused = client.calls(method, json!({ "room": host.room })).await;
        assert_eq!(refused.unwrap_err(), limited, "{method}");
    }
    let refused = client.subscribes(&host.channel).await;
    assert_eq!(refused.unwrap_err(), limited);
    let answer = daemon.get(&format!("/v1/rooms/{}", host.room)).send().await;
    assert_eq!(answer.refusal(), (429, "RATE_LIMITED"));
}

/// A code for each of so many requests, which all leave at the same moment.
async fn all_at_once<T>(count: usize, ask: impl AsyncFn(usize, &Barrier) -> T) -> Vec<T> {
    let barrier = Barrier::new(count);
    let asking = (0..count).map(|number| ask(number, &barrier));
    join_all(asking).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_codes_at_once_are_no_more_than_two_hundred_in_a_row() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let host = Player::opens(&daemon).await;

    let over_http = all_at_once(200, async |number, barrier| {
        barrier.wait().await;
        guess(&daemon, "203.0.113.1", &wrong_code(number)).await.0
    })
    .await;
    let asked_of = |answers: &[u64], answer| answers.iter().filter(|one| **one == answer).count();
    let over_http: Vec<u64> = over_http.into_iter().map(u64::from).collect();
    assert_eq!(asked_of(&over_http, 404), WRONG_CODES_MAX, "{over_http:?}");
    assert_eq!(asked_of(&over_http, 429), 200 - WRONG_CODES_MAX);

    let guesser = join_all((0..40).map(|_| async {
        let player = Player::opens(&daemon).await;
        player.connects(&daemon).await.0
    }));
    let clients: Vec<Mutex<Client>> = guesser.await.into_iter().map(Mutex::new).collect();
    let over_sockets = all_at_once(clients.len(), async |number, barrier| {
        let mut client = clients[number].lock().await;
        barrier.wait().await;
        let code = json!({ "room": wrong_code(number) });
        let method = ["room.get", "room.join", "room.leave"][number % 3];
        client.calls(method, code).await.unwrap_err().code()
    })
    .await;
    assert_eq!(
        asked_of(&over_sockets, 1001),
        WRONG_CODES_MAX,
        "{over_sockets:?}"
    );
    assert_eq!(
        asked_of(&over_sockets, 111),
        clients.len() - WRONG_CODES_MAX
    );

    // Those who are right are never too many.
    let right = all_at_once(200, async |_, barrier| {
        barrier.wait().await;
        guess(&daemon, "203.0.113.2", &host.room).await.0
    })
    .await;
    assert!(right.iter().all(|status| *status == 200), "{right:?}");
    drop(clients);
    honest.have_lost_nothing("codes at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_of_others_at_an_address_keep_nobody_from_its_own_room() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let (ana, other) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    let (mut guesser, _) = other.connects(&daemon).await;
    let line = ana.sits_down(&daemon).await;
    for number in 0..=WRONG_CODES_MAX {
        let wrong = json!({ "room": wrong_code(number) });
        guesser.calls("room.get", wrong).await.unwrap_err();
    }
    let refused = guesser.calls("room.get", json!({ "room": ana.room })).await;
    assert_eq!(refused.unwrap_err().code(), 111);

    // F5: a new connection, and all that a page asks for then.
    drop(line);
    let (mut client, _) = ana.connects(&daemon).await;
    client.subscribes(&ana.channel).await.unwrap();
    let room = json!({ "room": ana.room });
    client.calls("room.get", room.clone()).await.unwrap();
    let seat = client.calls("room.join", room.clone()).await.unwrap();
    assert_eq!(seat["seat"]["room"], ana.room);
    let path = format!("/v1/rooms/{}", ana.room);
    let over_http = daemon.get(&path).by(&ana.token).send().await;
    assert_eq!(over_http.expect(200)["room"]["code"], ana.room);
    let again = daemon.post(&format!("{path}/join"), json!({}));
    again.by(&ana.token).send().await.expect(200);
    assert_eq!(daemon.get(&path).send().await.status, 429);
    let path = format!("/v1/rooms/{}", other.room);
    assert_eq!(daemon.get(&path).by(&ana.token).send().await.status, 429);
    client.calls("room.leave", room.clone()).await.unwrap();
    let left = client.calls("room.get", room).await;
    assert_eq!(left.unwrap_err().code(), 111);
    honest.have_lost_nothing("guesses of others").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_site_of_ipv6_guesses_no_more_than_sixteen_subscribers() {
    let daemon = start_with(3).await;
    let honest = Honest::play(&daemon).await;
    // Each from a /64 of its own: none of them has guessed before.
    let mut answers = Vec::new();
    for number in 0..=16 * 3 {
        let address = format!("2001:db8:1:{number:x}::1");
        answers.push(guess(&daemon, &address, &wrong_code(number)).await.0);
    }
    assert_eq!(answers.pop(), Some(429));
    assert!(answers.iter().all(|status| *status == 404));
    assert_eq!(guess(&daemon, "2001:db8:2::1", "ZZZZZZ").await.0, 404);
    honest.have_lost_nothing("guesses of a site").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_nobody_configured_is_told_to_the_operator_and_its_players_are_not_one_guesser()
 {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.wrong_codes_per_minute", "3")
        .start()
        .await;
    for number in 0..10 {
        let answer = guess(&daemon, "203.0.113.1", &wrong_code(number)).await;
        assert_eq!(answer.0, 404);
    }
    let told = daemon
        .log()
        .matches("is not in server.trusted_proxies")
        .count();
    assert_eq!(told, 1);
    for number in 0..3 {
        let path = format!("/v1/rooms/{}", wrong_code(number));
        assert_eq!(daemon.get(&path).send().await.status, 404);
    }
    assert_eq!(daemon.get("/v1/rooms/ZZZZZZ").send().await.status, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_a_room_already_and_the_games_own_server_are_not_in_the_way() {
    let daemon = start().await;
    let host = Player::opens(&daemon).await;
    let mut client: Client = host.sits_down(&daemon).await;
    for number in 0..=WRONG_CODES_MAX {
        let wrong = json!({ "room": wrong_code(number) });
        client.calls("room.get", wrong).await.unwrap_err();
    }

    client
        .publishes(&host.channel, json!("still here"))
        .await
        .unwrap();
    assert_eq!(
        client.hears_a_player(&host.channel).await["data"],
        "still here"
    );
    let path = format!("/v1/rooms/{}/join", host.room);
    let body = json!({ "user": { "id": "ana", "name": "Ana" } });
    daemon.post_as_game(&path, body).send().await.expect(200);
    let look = daemon.get(&format!("/v1/rooms/{}", host.room));
    look.header("x-api-key", daemon.api_key())
        .send()
        .await
        .expect(200);
}

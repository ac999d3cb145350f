//! Those who guess room codes.

use serde_json::json;

use super::{Honest, Vitals};
use crate::support::{Client, Daemon, Database, Player, Refusal};

/// As it ships.
const WRONG_CODES_MAX: usize = 30;

async fn start() -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("client.wrong_codes_per_minute", "30")
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

    let host = Player::opens(&daemon).await;
    let (mut client, _) = host.connects(&daemon).await;
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
}

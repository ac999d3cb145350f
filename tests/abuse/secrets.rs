//! Those who make up tokens and keys.

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::Instant;

use super::{Honest, Vitals};
use crate::support::{API_KEY, Daemon, Database, Player};

/// Wrong ones of an address in a minute, as the hub counts them.
const WRONG_MAX: usize = 60;

/// Made-up tokens on their way at one time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_session_tokens_cost_little_and_keep_no_player_out() {
    const TOKENS: usize = 300;
    let daemon = super::start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let began = Instant::now();
    let daemon_asked = &daemon;
    stream::iter(0..TOKENS)
        .for_each_concurrent(AT_ONCE, |number| async move {
            let token = format!("hfs_{number:05}{}", "0".repeat(38));
            let answer = daemon_asked.get("/v1/session").by(&token).send().await;
            assert_eq!(answer.refusal(), (401, "TOKEN_INVALID"));
        })
        .await;
    let seconds = began.elapsed().as_secs() as usize + 1;
    let (client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["status"], "held");
    client.drops_the_line();

    let metrics = daemon.metrics().await;
    let looked_up = |attempt: u32| {
        let labels = format!("attempt=\"{attempt}\",outcome=\"missing\"");
        metrics.value(&format!("holdfast_token_lookups_total{{{labels}}}")) as usize
    };
    assert_eq!(looked_up(1), TOKENS);
    let again = looked_up(2);
    assert!(again <= WRONG_MAX + seconds, "{again} were looked up again");
    let limited = metrics.value("holdfast_wrong_tokens_limited_total") as usize;
    assert_eq!(limited, TOKENS - again);
    let lines = daemon
        .log()
        .matches("a session token was not found")
        .count();
    assert!((1..=seconds + 1).contains(&lines), "{lines} in {seconds} s");
    before.come_back(&daemon).await;
    honest.have_lost_nothing("300 made-up tokens").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_of_an_api_key_are_limited_for_each_address_and_game_servers_are_not_kept_out() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("server.trusted_proxies", "[\"127.0.0.1/32\"]")
        .with_api_key()
        .start()
        .await;
    let calls = async |from: &str, key: &str| {
        let request = daemon.post("/api/info", json!({}));
        let request = request.header("x-forwarded-for", from);
        request.header("x-api-key", key).send().await.status
    };
    let (guesser, game, shared) = ("203.0.113.1", "203.0.113.2", "203.0.113.3");
    assert_eq!(calls(shared, API_KEY).await, 200);

    for address in [guesser, shared] {
        for number in 0..WRONG_MAX {
            assert_eq!(calls(address, &format!("guess-{number}")).await, 401);
        }
        assert_eq!(calls(address, "one-guess-more").await, 429);
    }

    assert_eq!(calls(guesser, API_KEY).await, 429);
    assert_eq!(calls(game, API_KEY).await, 200);
    assert_eq!(calls(shared, API_KEY).await, 200);
    let body = json!({ "user": { "id": "u1" } });
    let request = daemon.post("/v1/sessions", body);
    let request = request.header("x-forwarded-for", guesser);
    let refused = request.header("x-api-key", "another").send().await;
    assert_eq!(refused.refusal(), (429, "RATE_LIMITED"));
    let limited = "holdfast_secret_guesses_limited_total{secret=\"api_key\"}";
    assert_eq!(daemon.metric(limited).await, 4);
}

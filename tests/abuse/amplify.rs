//! Questions that are short and have long answers.

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{Honest, start};
use crate::support::{Client, Daemon, Database, Player, Refusal, eventually};

/// As it ships: commands, or KiB of answers, that a connection may have at once, and in each second after that.
const BURST: usize = 200;
const RATE: usize = 100;

/// Lookups: more than a session or an address may make at the rates of these tests.
const LOOKUPS: usize = 100;

/// Members of the lobby that is asked for.
const MEMBERS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_costs_what_its_answer_weighs_and_others_do_not_pay_for_it() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let members = join_all((0..MEMBERS).map(|_| lobby_member(&daemon))).await;
    let mut speaker = lobby_member(&daemon).await;
    for _ in 0..4 {
        let word = json!("x".repeat(4_000));
        speaker.publishes("lobby:a", word).await.unwrap();
    }

    let presence = json!({ "channel": "lobby:a" });
    let history = json!({ "channel": "lobby:a", "limit": -1 });
    for (question, body, least) in [("presence", presence, 15), ("history", history, 12)] {
        let mut asker = lobby_member(&daemon).await;
        let began = Instant::now();
        let mut ids = Vec::new();
        for _ in 0..150 {
            ids.push(asker.says(question, body.clone()).await);
        }
        let mut answered = 0;
        for id in ids {
            match asker.reply(id, question).await {
                Ok(_) => answered += 1,
                Err(refused) => assert_eq!(refused, Refusal::error(111, "too many requests")),
            }
        }
        let tokens = BURST + RATE * (began.elapsed().as_secs() as usize + 1);
        assert!(answered >= 1, "{question}");
        assert!((answered - 1) * least <= tokens, "{question}: {answered}");
        asker.drops_the_line();
    }
    speaker
        .publishes("lobby:a", json!("still here"))
        .await
        .unwrap();
    drop(members);
    honest
        .have_lost_nothing("questions with long answers")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_over_http_costs_what_its_answer_weighs_and_others_do_not_pay_for_it() {
    let plan = Daemon::on(Database::Sqlite).set("client.messages_per_second", "10");
    let daemon = plan.start().await;
    let (player, other) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    for _ in 0..5 {
        let room = daemon.post("/v1/rooms", json!({})).by(&player.token);
        room.send().await.expect(201);
    }

    let began = Instant::now();
    let (mut answered, mut weight) = (0, 0);
    for _ in 0..LOOKUPS {
        let answer = daemon.get("/v1/session").by(&player.token).send().await;
        if answer.status == 200 {
            answered += 1;
            weight = 1 + answer.text.len() / 1024;
        } else {
            assert_eq!(answer.refusal(), (429, "RATE_LIMITED"));
            assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        }
    }

    let tokens = 20 + 10 * (began.elapsed().as_secs() as usize + 1);
    assert!(answered >= 1 && weight >= 3, "{answered} of {weight}");
    assert!((answered - 1) * weight <= tokens, "{answered} of {weight}");
    let other = daemon.get("/v1/session").by(&other.token).send().await;
    other.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_of_an_address_never_keep_a_player_from_its_own_room() {
    let plan = Daemon::on(Database::Sqlite).set("client.messages_per_second", "1");
    let daemon = plan.with_api_key().start().await;
    let player = Player::opens(&daemon).await;
    let path = format!("/v1/rooms/{}", player.room);

    eventually("the address has had its lookups", async || {
        let looks = (0..LOOKUPS).map(|_| daemon.get(&path).send());
        let answers = join_all(looks).await;
        let refused = answers.iter().find(|answer| answer.status != 200);
        let refused = refused.ok_or("all were answered")?;
        assert_eq!(refused.refusal(), (429, "RATE_LIMITED"));
        Ok(())
    })
    .await;

    let own = daemon.get(&path).by(&player.token).send().await;
    own.expect(200);
    let game = daemon.get(&path).header("x-api-key", daemon.api_key());
    game.send().await.expect(200);
}

async fn lobby_member(daemon: &Daemon) -> Client {
    let (mut client, _) = Client::connect(daemon.address(), "").await;
    client.subscribes("lobby:a").await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_that_comes_back_to_a_long_history_plays_on_at_once() {
    let daemon = start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut speaker = host.sits_down(&daemon).await;
    let (mut away, _) = guest.connects(&daemon).await;
    let subscribed = away.subscribes(&guest.channel).await.unwrap();
    away.drops_the_line();
    // As much as may be published at once, and nearly as much as a table keeps.
    for _ in 0..15 {
        let word = json!("x".repeat(16_000));
        speaker.publishes(&host.channel, word).await.unwrap();
    }

    let (mut back, _) = guest.connects(&daemon).await;
    let (epoch, offset) = (
        subscribed["epoch"].as_str().unwrap(),
        subscribed["offset"].as_u64().unwrap_or(0),
    );
    let recovered = back.recovers(&guest.channel, epoch, offset).await.unwrap();
    assert_eq!(recovered["recovered"], true);
    for number in 0..100 {
        back.publishes(&guest.channel, json!(number)).await.unwrap();
    }
}

//! What a reply that says "created" is worth, at the moment it arrives.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Player, on_both_databases, repeated};

on_both_databases!(
    a_token_is_valid_the_moment_it_is_returned,
    a_new_room_comes_with_its_player_seat_and_session,
    a_session_can_be_opened_before_any_room,
    a_player_with_a_session_opens_and_joins_without_a_new_token,
    a_room_code_is_read_without_regard_to_case,
    a_quick_match_fills_a_room_before_it_opens_another,
    a_game_server_creates_for_its_own_users,
);

#[cfg(feature = "faults")]
on_both_databases!(a_token_is_valid_at_once_however_slow_the_commit);

/// Callers at a time: as many as a busy lobby has, and enough to make full groups of commits.
const CALLERS: usize = 64;

/// Creates, each followed by a connect with its token.
const PAIRS: usize = 1_000;

/// The same in a run of `tests/long`.
const PAIRS_LONG: usize = 10_000;

async fn a_token_is_valid_the_moment_it_is_returned(database: Database) {
    let daemon = Daemon::on(database).start().await;

    create_and_connect(&daemon).await;
}

#[cfg(feature = "faults")]
async fn a_token_is_valid_at_once_however_slow_the_commit(database: Database) {
    let daemon = Daemon::on(database)
        .set("faults.commit_delay", "20ms")
        .start()
        .await;

    create_and_connect(&daemon).await;
}

async fn create_and_connect(daemon: &Daemon) {
    let pairs = repeated(PAIRS, PAIRS_LONG);
    let tokens_not_found = stream::iter(0..pairs)
        .map(|_| async {
            let player = Player::opens(daemon).await;
            let mut client = Client::dial(daemon.address()).await;
            let result = client.connects(&player.token).await;
            match result {
                Ok(result) => {
                    assert_eq!(result["data"]["seats"][0]["room"], player.room, "{result}");
                    0
                }
                Err(refusal) => {
                    eprintln!("{refusal:?} for a token just returned");
                    1
                }
            }
        })
        .buffer_unordered(CALLERS)
        .fold(0, |sum, refused| async move { sum + refused })
        .await;

    assert_eq!(tokens_not_found, 0, "of {pairs}");
}

async fn a_new_room_comes_with_its_player_seat_and_session(database: Database) {
    let daemon = Daemon::on(database).start().await;

    let body = json!({ "guest": { "name": "Ana" }, "settings": { "map": "north" } });
    let answer = daemon.post("/v1/rooms", body).send().await.expect(201);

    let code = answer["room"]["code"].as_str().unwrap();
    assert_eq!(code.len(), 6);
    assert_eq!(answer["room"]["kind"], "table");
    assert_eq!(answer["room"]["channel"], format!("table:{code}"));
    assert_eq!(answer["room"]["status"], "open");
    assert_eq!(answer["room"]["capacity"], 6);
    assert_eq!(answer["room"]["current_game_id"], Value::Null);
    assert_eq!(answer["room"]["seats"].as_array().unwrap().len(), 6);
    assert_eq!(answer["user"]["name"], "Ana");
    assert_eq!(answer["seat"]["room"], code);
    assert_eq!(answer["seat"]["seat"], 0);
    assert_eq!(answer["seat"]["team"], Value::Null);
    let token = answer["session"]["token"].as_str().unwrap();
    assert!(token.starts_with("hfs_") && token.len() == 47, "{token}");
    let expires_at = answer["session"]["expires_at"].as_str().unwrap();
    assert!(expires_at.ends_with('Z'), "{expires_at}");
    let user = &daemon.room(code).await["seats"][0]["user"];
    assert_eq!(user, &answer["user"]);
}

async fn a_session_can_be_opened_before_any_room(database: Database) {
    let daemon = Daemon::on(database).start().await;

    let body = json!({ "guest": { "name": "Ana" } });
    let answer = daemon.post("/v1/sessions", body).send().await.expect(201);

    assert_eq!(answer["seats"], json!([]));
    assert_eq!(answer["user"]["name"], "Ana");
    let token = answer["session"]["token"].as_str().unwrap();
    let seen = daemon.get("/v1/session").by(token).send().await.expect(200);
    assert_eq!(seen["session"]["id"], answer["session"]["id"]);
    assert_eq!(seen["user"], answer["user"]);
    assert_eq!(seen["session"].get("token"), None);
    let (_client, result) = Client::connect(daemon.address(), token).await;
    assert_eq!(result["data"]["session"]["id"], answer["session"]["id"]);
    assert_eq!(result["data"]["session"].get("token"), None);
}

async fn a_player_with_a_session_opens_and_joins_without_a_new_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let body = json!({ "guest": { "name": "Bo" } });
    let session = daemon.post("/v1/sessions", body).send().await.expect(201);
    let token = session["session"]["token"].as_str().unwrap();

    let opened = daemon.post("/v1/rooms", json!({})).by(token).send().await;
    let join = format!("/v1/rooms/{}/join", host.room);
    let joined = daemon.post(&join, json!({})).by(token).send().await;

    for answer in [opened.expect(201), joined.expect(200)] {
        assert_eq!(answer["user"], session["user"]);
        assert_eq!(answer["session"]["id"], session["session"]["id"]);
        assert_eq!(answer["session"].get("token"), None);
    }
    let seen = daemon.get("/v1/session").by(token).send().await.expect(200);
    assert_eq!(seen["seats"].as_array().unwrap().len(), 2);
}

async fn a_room_code_is_read_without_regard_to_case(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;

    let guest = Player::joins(&daemon, &host.room.to_lowercase()).await;

    assert_eq!(guest.room, host.room);
    assert_eq!(guest.seat, Some(1));
}

async fn a_quick_match_fills_a_room_before_it_opens_another(database: Database) {
    let daemon = Daemon::on(database).start().await;

    let mut rooms = Vec::new();
    for name in ["Ana", "Bo", "Cy"] {
        let body = json!({ "kind": "duel", "guest": { "name": name } });
        let answer = daemon.post("/v1/quick-match", body).send().await;
        rooms.push(Player::from(&answer.expect(200)).room);
    }

    assert_eq!(rooms[0], rooms[1]);
    assert_ne!(rooms[1], rooms[2]);
}

async fn a_game_server_creates_for_its_own_users(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let body = json!({ "user": { "id": "steam:7", "name": "Ana" } });

    let answer = daemon.post_as_game("/v1/rooms", body.clone()).send().await;
    let request = daemon.post("/v1/rooms", body);
    let refused = request.header("x-api-key", "another").send().await;

    let body = answer.expect(201);
    assert_eq!(body["user"], json!({ "id": "steam:7", "name": "Ana" }));
    let (_client, data) = Player::from(&body).connects(&daemon).await;
    assert_eq!(data["user"]["id"], "steam:7");
    assert_eq!(refused.status, 401, "{refused:?}");
}

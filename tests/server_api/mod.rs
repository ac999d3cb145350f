//! What a game's own server does over `POST /api/<method>`.

mod call;
mod end;
mod look;
mod order;
mod say;
mod stock;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Daemon, Database, Plan, Player};

/// A hub that lets a game's server in, with channels of several sorts.
fn hub(database: Database) -> Plan {
    Daemon::on(database)
        .with_api_key()
        .set("kind.plain.history_size", "0")
        .set("kind.plain.presence", "false")
        .set("kind.crowd.join_leave", "true")
}

async fn calls(daemon: &Daemon, method: &str, body: Value) -> Answer {
    let path = format!("/api/{method}");
    daemon.post_as_game(&path, body).send().await
}

/// The result of a call that is carried out.
async fn result(daemon: &Daemon, method: &str, body: Value) -> Value {
    let answer = calls(daemon, method, body).await.expect(200);
    let result = answer.get("result");
    result
        .unwrap_or_else(|| panic!("{method} was refused: {answer}"))
        .clone()
}

/// The code and the words of a call that is refused.
async fn error(daemon: &Daemon, method: &str, body: Value) -> (u64, String) {
    let answer = calls(daemon, method, body.clone()).await.expect(200);
    let error = answer.get("error");
    let error = error.unwrap_or_else(|| panic!("{method} {body} was carried out: {answer}"));
    let message = error["message"].as_str().expect("errors have a message");
    assert!(!message.is_empty(), "{answer}");
    (error["code"].as_u64().unwrap(), message.to_owned())
}

/// A connected guest of this name: its socket, and what its connect said.
async fn guest(daemon: &Daemon) -> (Client, Value) {
    let mut client = Client::dial(daemon.address()).await;
    let connected = client.connects("").await.unwrap();
    (client, connected)
}

/// The user of a connect result.
fn user(connected: &Value) -> &str {
    connected["data"]["user"]["id"].as_str().unwrap()
}

/// A new session of one of the game's own users.
async fn session_of(daemon: &Daemon, user: &str) -> String {
    let body = json!({ "user": { "id": user } });
    let opened = daemon.post_as_game("/v1/sessions", body).send().await;
    let token = &opened.expect(201)["session"]["token"];
    token.as_str().unwrap().to_owned()
}

/// A room whose only player has left, so that nobody keeps it live.
async fn left_room(daemon: &Daemon, kind: &str) -> Player {
    let host = Player::opens_with(daemon, json!({ "kind": kind })).await;
    let (mut client, _) = host.connects(daemon).await;
    let left = client.calls("room.leave", json!({ "room": host.room }));
    left.await.unwrap();
    host
}

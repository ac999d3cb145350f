//! Seat tokens: proof of a seat, and the door by which its player comes back.

mod door;
mod key;
mod line;
mod theft;

use jsonwebtoken::dangerous::insecure_decode;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Player, Refusal};

/// A player's seat token, as the connect reply has it.
async fn seat_token(daemon: &Daemon, player: &Player) -> (Client, String) {
    let (client, data) = player.connects(daemon).await;
    (client, token_of(&data))
}

/// The seat token in a connect result's `data`, or in any answer with one seat.
#[track_caller]
fn token_of(data: &Value) -> String {
    let seat = match data["seats"].is_null() {
        true => &data["seat"],
        false => &data["seats"][0],
    };
    let token = seat["token"].as_str();
    token
        .unwrap_or_else(|| panic!("no seat token in {data}"))
        .to_owned()
}

/// What a token says, whoever signed it.
fn claims(token: &str) -> Value {
    insecure_decode::<Value>(token).unwrap().claims
}

/// Comes with a seat token from a device that has nothing else.
async fn comes_with(daemon: &Daemon, token: &str) -> Result<(Client, Value), Refusal> {
    let mut client = Client::dial(daemon.address()).await;
    let mut result = client.connects(token).await?;
    Ok((client, result["data"].take()))
}

/// The same over HTTP; the status and what came.
async fn asks_with(daemon: &Daemon, token: &str) -> (u16, Value) {
    let body = json!({ "seat_token": token });
    let answer = daemon.post("/v1/sessions", body).send().await;
    (answer.status, answer.body)
}

/// How often tokens were refused for a reason.
async fn refused(daemon: &Daemon, reason: &str) -> u64 {
    let series = format!("holdfast_seat_tokens_refused_total{{reason=\"{reason}\"}}");
    daemon.metric(&series).await
}

//! Rooms whose history is durable: what is acknowledged or heard in them is committed.

mod fire;
mod history;
mod news;
mod subscriber;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Player};

/// Two players in a new room of a durable kind, both listening.
async fn duel(daemon: &Daemon) -> (Player, Client, Player, Client) {
    let ana = Player::opens_with(daemon, json!({ "kind": "duel" })).await;
    let bo = Player::joins(daemon, &ana.room).await;
    let (one, two) = (ana.sits_down(daemon).await, bo.sits_down(daemon).await);
    (ana, one, bo, two)
}

/// The data of what players said, with its offsets.
fn said(publications: &[Value]) -> Vec<(u64, Value)> {
    let by_players = publications
        .iter()
        .filter(|publication| publication["tags"]["from"] != "hub");
    by_players.map(place).collect()
}

fn place(publication: &Value) -> (u64, Value) {
    let offset = publication["offset"].as_u64();
    (offset.unwrap(), publication["data"].clone())
}

fn position(subscribed: &Value) -> (String, u64) {
    let epoch = subscribed["epoch"].as_str().unwrap().to_owned();
    (epoch, subscribed["offset"].as_u64().unwrap_or(0))
}

fn publications(result: &Value) -> Vec<Value> {
    result["publications"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

//! A guest who came by HTTP: what the daemon told them, and what they do with it.

use serde_json::{Value, json};

use super::http::asked_again;
use super::{Answer, Client, Daemon};

/// Somebody with a session, and a seat unless they only watch.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    pub(crate) token: String,
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) room: String,
    pub(crate) channel: String,
    /// None for a spectator.
    pub(crate) seat: Option<u64>,
}

impl Player {
    /// A new guest opens a room of the default kind and sits in it.
    pub(crate) async fn opens(daemon: &Daemon) -> Player {
        Player::opens_with(daemon, json!({})).await
    }

    /// The same, with more fields in the request.
    pub(crate) async fn opens_with(daemon: &Daemon, fields: Value) -> Player {
        let body = guest("Ana", fields);
        let answer = asked_again(async || daemon.post("/v1/rooms", body.clone()).send().await);
        Player::from(&answer.await.expect(201))
    }

    /// A new guest joins the room with this code.
    pub(crate) async fn joins(daemon: &Daemon, code: &str) -> Player {
        let answer = asked_again(async || Player::tries_to_join(daemon, code, json!({})).await);
        Player::from(&answer.await.expect(200))
    }

    /// The same, with more fields in the request, and however it ends.
    pub(crate) async fn tries_to_join(daemon: &Daemon, code: &str, fields: Value) -> Answer {
        daemon
            .post(&format!("/v1/rooms/{code}/join"), guest("Bo", fields))
            .send()
            .await
    }

    /// Reads the answer of `POST /v1/rooms` and its like.
    #[track_caller]
    pub(crate) fn from(body: &Value) -> Player {
        let text = |value: &Value, what: &str| {
            value
                .as_str()
                .unwrap_or_else(|| panic!("no {what} in {body}"))
                .to_owned()
        };
        Player {
            token: text(&body["session"]["token"], "session token"),
            session: text(&body["session"]["id"], "session id"),
            user: text(&body["user"]["id"], "user id"),
            room: text(&body["room"]["code"], "room code"),
            channel: text(&body["room"]["channel"], "channel"),
            seat: body["seat"]["seat"].as_u64(),
        }
    }

    /// Connects; the client and the connect result's `data`.
    pub(crate) async fn connects(&self, daemon: &Daemon) -> (Client, Value) {
        let (client, mut result) = Client::connect(daemon.address(), &self.token).await;
        (client, result["data"].take())
    }

    /// Connects and subscribes to the room.
    pub(crate) async fn sits_down(&self, daemon: &Daemon) -> Client {
        let (mut client, _) = self.connects(daemon).await;
        client.subscribes(&self.channel).await.unwrap();
        client
    }

    /// What the room says about this player's seat.
    pub(crate) async fn seat_in_room(&self, daemon: &Daemon) -> Value {
        let room = daemon.room(&self.room).await;
        let number = self.seat.expect("a spectator has no seat");
        let seats = room["seats"].as_array().expect("a room lists its seats");
        seats
            .iter()
            .find(|seat| seat["seat"] == number)
            .unwrap_or_else(|| panic!("no seat {number} in {room}"))
            .clone()
    }
}

fn guest(name: &str, mut fields: Value) -> Value {
    fields["guest"] = json!({ "name": name });
    fields
}

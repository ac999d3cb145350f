//! The client protocol in both encodings: what one says, the other hears.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{
    Client, Daemon, Database, Issuer, PATIENCE, Player, Refusal, frame, on_both_databases, protobuf,
};

on_both_databases!(
    players_of_both_encodings_hear_the_same,
    both_encodings_answer_alike,
    a_payload_that_is_no_json_is_refused,
    a_protobuf_frame_that_is_no_command_closes_the_socket,
    a_client_chooses_its_encoding_by_subprotocol_or_address,
    an_id_that_is_used_again_is_answered_again,
    what_follows_a_refused_connect_in_its_frame_is_let_be,
);

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

async fn players_of_both_encodings_hear_the_same(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let ben = Player::joins(&daemon, &ana.room).await;
    let mut players = Vec::new();
    for (player, encoding) in [&ana, &ben].into_iter().zip(ENCODINGS) {
        let mut client = Client::dial_as(daemon.address(), encoding).await;
        client.connects(&player.token).await.unwrap();
        client.subscribes(&ana.channel).await.unwrap();
        players.push(client);
    }

    for speaker in 0..2 {
        let said = json!({ "by": speaker, "text": "line\nbreak", "deep": [[{}]], "none": null });
        let speaking = players[speaker].publishes(&ana.channel, said.clone());
        assert_eq!(speaking.await, Ok(json!({})));

        let json = players[0].hears_a_player(&ana.channel).await;
        let protobuf = players[1].hears_a_player(&ana.channel).await;
        assert_eq!(json["data"], said);
        assert!(json["time"].is_number());
        assert_eq!(json, protobuf);
    }
}

async fn both_encodings_answer_alike(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let mut answers = Vec::new();
    for encoding in ENCODINGS {
        let mut client = Client::dial_as(daemon.address(), encoding).await;
        let connected = client.connects(&ana.token).await.unwrap();
        let mut answered = vec![Ok(connected)];
        for (command, body) in commands(&ana) {
            answered.push(client.asks(command, body).await);
        }
        answers.push(answered.into_iter().map(told).collect::<Vec<_>>());
    }
    assert_eq!(answers[0].len(), 1 + commands(&ana).len());
    assert_eq!(answers[0], answers[1]);
}

/// Each command once, well and badly asked; nothing that changes what the next client finds.
fn commands(player: &Player) -> Vec<(&'static str, Value)> {
    let channel = &player.channel;
    vec![
        ("subscribe", json!({ "channel": channel, "flag": 1 })),
        ("subscribe", json!({ "channel": channel })),
        ("subscribe", json!({ "channel": "nothing:AAAAAA" })),
        ("subscribe", json!({ "channel": "lobby:x", "type": 1 })),
        ("subscribe", json!({ "channel": "lobby:x", "type": 4 })),
        ("subscribe", json!({ "channel": "lobby:x", "tf": {} })),
        ("presence", json!({ "channel": channel })),
        ("presence_stats", json!({ "channel": channel })),
        ("history", json!({ "channel": channel, "limit": -1 })),
        (
            "history",
            json!({ "channel": channel, "limit": 1, "reverse": true }),
        ),
        (
            "history",
            json!({ "channel": channel, "since": { "offset": 0, "epoch": "other" } }),
        ),
        ("ping", json!({})),
        (
            "rpc",
            json!({ "method": "room.get", "data": { "room": player.room } }),
        ),
        (
            "rpc",
            json!({ "method": "room.get", "data": { "room": 7 } }),
        ),
        ("rpc", json!({ "method": "no.such" })),
        ("unsubscribe", json!({ "channel": channel })),
        ("unsubscribe", json!({ "channel": channel })),
    ]
}

/// An answer without what differs from one connection to the next.
fn told(answer: Result<Value, Refusal>) -> Result<Value, Refusal> {
    let mut answer = answer?;
    for field in ["client", "time"] {
        answer.as_object_mut().unwrap().remove(field);
    }
    if let Some(seats) = answer
        .pointer_mut("/data/seats")
        .and_then(Value::as_array_mut)
    {
        for seat in seats.iter_mut().filter_map(Value::as_object_mut) {
            seat.retain(|name, _| {
                !["hold_seconds", "status", "token", "token_expires_at"].contains(&name.as_str())
            });
        }
    }
    if let Some(session) = answer
        .pointer_mut("/data/session")
        .and_then(Value::as_object_mut)
    {
        session.remove("expires_at");
    }
    if let Some(presence) = answer.get("presence") {
        answer = json!(presence.as_object().unwrap().len());
    }
    for moving in ["publications", "offset"] {
        if let Some(fields) = answer.as_object_mut() {
            fields.remove(moving);
        }
    }
    Ok(answer)
}

async fn a_payload_that_is_no_json_is_refused(database: Database) {
    use holdfast::wire::protobuf as proto;

    let daemon = Daemon::on(database).start().await;
    let ana = Player::opens(&daemon).await;
    let mut client = Client::dial_as(daemon.address(), Encoding::Protobuf).await;
    client.connects(&ana.token).await.unwrap();
    client.subscribes(&ana.channel).await.unwrap();
    let publish = proto::Command {
        id: 9,
        publish: Some(proto::PublishRequest {
            channel: ana.channel.clone(),
            data: b"\xff\x00".as_slice().into(),
        }),
        ..proto::Command::default()
    };

    client.sends(Message::binary(proto::frame(&publish))).await;

    let refused = client.reply(9, "publish").await.unwrap_err();
    assert_eq!(refused.code(), 107);
    assert!(
        format!("{refused:?}").contains("data is no JSON"),
        "{refused:?}"
    );
    client.publishes(&ana.channel, json!("next")).await.unwrap();
}

async fn a_protobuf_frame_that_is_no_command_closes_the_socket(database: Database) {
    let daemon = Daemon::on(database).start().await;
    for frame in [
        Message::binary(vec![]),
        // Longer than what follows.
        Message::binary(vec![5, 8, 1]),
        // A length without an end.
        Message::binary(vec![0xff; 16]),
        // A command with an id and no method.
        Message::binary(vec![2, 8, 1]),
        Message::text("{\"id\":1,\"connect\":{}}"),
    ] {
        let mut client = Client::dial_as(daemon.address(), Encoding::Protobuf).await;
        client.sends(frame.clone()).await;
        let (code, _) = client.closed_after(&format!("{frame:?}")).await;
        assert_eq!(code, 3501, "{frame:?}");
    }
}

async fn a_client_chooses_its_encoding_by_subprotocol_or_address(database: Database) {
    const JSON: &str = "centrifuge-json";
    const PROTOBUF: &str = "centrifuge-protobuf";
    let daemon = Daemon::on(database).start().await;
    for (query, subprotocol, encoding) in [
        ("", None, Encoding::Json),
        ("", Some(JSON), Encoding::Json),
        ("", Some(PROTOBUF), Encoding::Protobuf),
        ("?format=protobuf", None, Encoding::Protobuf),
        ("?cf_protocol=protobuf", None, Encoding::Protobuf),
        ("?x=1&format=protobuf", Some(PROTOBUF), Encoding::Protobuf),
        ("?format=json", None, Encoding::Json),
    ] {
        let (named, heard) = connects_as(&daemon, query, subprotocol, encoding).await;
        // A client hangs up on an answer that names what it has not offered.
        assert_eq!(named.as_deref(), subprotocol, "{query}");
        assert_eq!(heard.is_binary(), encoding == Encoding::Protobuf, "{query}");
        assert_eq!(heard.is_text(), encoding == Encoding::Json, "{query}");
    }
}

/// Connects a guest in this encoding: the subprotocol that is agreed to, and the frame that answers.
async fn connects_as(
    daemon: &Daemon,
    query: &str,
    subprotocol: Option<&'static str>,
    encoding: Encoding,
) -> (Option<String>, Message) {
    let url = format!("ws://{}/connection/websocket{query}", daemon.address());
    let mut request = url.into_client_request().unwrap();
    if let Some(offered) = subprotocol {
        let offered = HeaderValue::from_static(offered);
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    let (mut socket, answer) = client_async(request, stream).await.unwrap();
    let named = answer.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let named = named.map(|named| named.to_str().unwrap().to_owned());
    let connect = json!({ "id": 1, "connect": {} });
    let connect = match encoding {
        Encoding::Json => Message::text(connect.to_string()),
        Encoding::Protobuf => Message::binary(protobuf::command(&connect)),
    };
    socket.send(connect).await.unwrap();
    let heard = timeout(PATIENCE, socket.next()).await;
    (named, heard.unwrap().unwrap().unwrap())
}

/// The hub keeps no list of ids: which command an answer is for is the client's to know.
async fn an_id_that_is_used_again_is_answered_again(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let url = format!("ws://{}/connection/websocket", daemon.address());
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    for text in [
        r#"{"id":1,"connect":{}}"#,
        "{\"id\":2,\"ping\":{}}\n{\"id\":2,\"presence\":{\"channel\":\"nowhere:x\"}}",
        r#"{"id":2,"ping":{}}"#,
        r#"{"id":3,"ping":{}}"#,
    ] {
        socket.send(Message::text(text)).await.unwrap();
    }

    let mut is_well = Vec::new();
    loop {
        let heard = timeout(PATIENCE, socket.next()).await.unwrap();
        let heard: Value = serde_json::from_slice(&heard.unwrap().unwrap().into_data()).unwrap();
        match heard["id"].as_u64() {
            Some(2) => is_well.push(heard["error"].is_null()),
            Some(3) => break,
            Some(_) | None => {}
        }
    }

    assert_eq!(is_well, [true, false, true]);
}

/// Client libraries send their connect and all their subscribes in one frame. Refused, they come again as the error
/// says: a close with 3501 would keep them away for good.
async fn what_follows_a_refused_connect_in_its_frame_is_let_be(database: Database) {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    let daemon = Daemon::on(database)
        .set("auth.hmac_secret", SECRET)
        .start()
        .await;
    let expired = Issuer::secret(jsonwebtoken::Algorithm::HS256, SECRET);
    let expired = expired.signs(json!({ "sub": "u1", "exp": 1 }));
    for encoding in ENCODINGS {
        let mut socket = dials(&daemon, encoding).await;
        let commands = [
            json!({ "id": 1, "connect": { "token": expired } }),
            json!({ "id": 2, "subscribe": { "channel": "lobby:a" } }),
            json!({ "id": 3, "publish": { "channel": "lobby:a", "data": 1 } }),
        ];
        socket.send(frame(encoding, &commands)).await.unwrap();

        let refused = next(&mut socket).await.into_data();
        let refused = match encoding {
            Encoding::Json => serde_json::from_slice(&refused).unwrap(),
            Encoding::Protobuf => protobuf::replies(&refused).remove(0),
        };
        assert_eq!(
            refused,
            json!({ "id": 1, "error": { "code": 109, "message": "TOKEN_EXPIRED" } })
        );
        socket.send(Message::Ping(Bytes::new())).await.unwrap();
        assert!(next(&mut socket).await.is_pong());
        // What it says when it knows better is its own fault.
        let late = json!({ "id": 4, "subscribe": { "channel": "lobby:a" } });
        socket.send(frame(encoding, &[late])).await.unwrap();
        let closed = next(&mut socket).await;
        assert!(
            matches!(&closed, Message::Close(Some(why)) if u16::from(why.code) == 3501),
            "{closed:?}"
        );
    }
}

async fn dials(daemon: &Daemon, encoding: Encoding) -> WebSocketStream<TcpStream> {
    let query = match encoding {
        Encoding::Json => "",
        Encoding::Protobuf => "?format=protobuf",
    };
    let url = format!("ws://{}/connection/websocket{query}", daemon.address());
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    client_async(url, stream).await.unwrap().0
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let next = timeout(PATIENCE, socket.next()).await;
    next.unwrap().unwrap().unwrap()
}

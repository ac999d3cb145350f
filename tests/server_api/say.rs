//! `publish` and `broadcast`.

use futures_util::future::join_all;
use holdfast::wire::Encoding;
use serde_json::{Value, json};

use super::{calls, error, guest, hub, left_room, result};
use crate::support::{Client, Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    what_a_game_server_says_is_heard_in_either_encoding,
    a_room_that_is_not_live_is_spoken_to_all_the_same,
    what_is_said_in_a_durable_room_is_there_after_a_crash,
    a_closed_room_takes_no_words,
);

async fn history(daemon: &Daemon, channel: &str) -> Value {
    let body = json!({ "channel": channel, "limit": -1 });
    result(daemon, "history", body).await
}

async fn what_a_game_server_says_is_heard_in_either_encoding(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut player = host.sits_down(&daemon).await;
    let mut binary = Client::dial_as(daemon.address(), Encoding::Protobuf).await;
    binary.connects("").await.unwrap();
    let (mut text, _) = guest(&daemon).await;
    for client in [&mut binary, &mut text] {
        client.subscribes("lobby:a").await.unwrap();
    }

    let body = json!({ "channel": "lobby:a", "data": { "x": 1.5 }, "tags": { "sort": "news" } });
    let placed = result(&daemon, "publish", body).await;
    assert_eq!(placed["offset"], 1);
    assert!(
        placed["epoch"]
            .as_str()
            .is_some_and(|epoch| !epoch.is_empty())
    );
    for client in [&mut binary, &mut text] {
        let heard = client.hears("lobby:a").await;
        assert_eq!(heard["data"], json!({ "x": 1.5 }));
        assert_eq!(heard["tags"], json!({ "sort": "news" }));
        assert_eq!(heard["offset"], 1);
        assert!(heard.get("info").is_none(), "{heard}");
    }

    // {"x":1} in base64; nobody but the game's server may speak for it in a room with seats.
    let body = json!({ "channel": host.channel, "b64data": "eyJ4IjoxfQ==" });
    result(&daemon, "publish", body).await;
    let heard = player.hears_a_player(&host.channel).await;
    assert_eq!(heard["data"], json!({ "x": 1 }));
}

async fn a_room_that_is_not_live_is_spoken_to_all_the_same(database: Database) {
    let mut daemon = hub(database)
        .set("faults.restore_delay", "1h")
        .start()
        .await;
    let host = left_room(&daemon, "table").await;
    daemon.kill();
    daemon.restart().await;
    assert_eq!(daemon.actors().await.rooms, 0);

    let body = json!({ "channel": host.channel, "data": "hello" });
    let placed = result(&daemon, "publish", body).await;

    let kept = history(&daemon, &host.channel).await;
    let last = kept["publications"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["data"], &last["offset"]),
        (&json!("hello"), &placed["offset"])
    );
    // The code is right and the kind is not.
    let other = format!("duel:{}", host.room);
    assert_eq!(
        error(&daemon, "publish", json!({ "channel": other, "data": 1 }))
            .await
            .0,
        102
    );
}

async fn what_is_said_in_a_durable_room_is_there_after_a_crash(database: Database) {
    let mut daemon = hub(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let body = json!({ "channel": host.channel, "data": "kept", "tags": { "a": "b" }, "idempotency_key": "k" });
    let placed = result(&daemon, "publish", body.clone()).await;
    assert_eq!(result(&daemon, "publish", body.clone()).await, placed);
    let passing = json!({ "channel": host.channel, "data": "gone", "skip_history": true });
    assert_eq!(result(&daemon, "publish", passing).await, json!({}));

    daemon.kill();
    daemon.restart().await;
    // The server that lost the answer in the crash asks again, and once more after the room has failed.
    assert_eq!(result(&daemon, "publish", body.clone()).await, placed);
    let room = json!({ "in": "room", "room": host.room });
    daemon.has_a_panic_in(&room).await;
    eventually("the room is back and knows the key", async || {
        let answer = calls(&daemon, "publish", body.clone()).await;
        let is_same = answer.body["result"] == placed;
        assert!(is_same || answer.body.get("error").is_some(), "{answer:?}");
        is_same.then_some(()).ok_or(answer.text)
    })
    .await;

    let kept = history(&daemon, &host.channel).await;
    assert_eq!(kept["epoch"], placed["epoch"]);
    let all = kept["publications"].as_array().unwrap();
    let by_game: Vec<_> = all
        .iter()
        .filter(|one| one["tags"]["from"] != "hub")
        .collect();
    assert_eq!(by_game.len(), 1, "{kept}");
    assert_eq!(by_game[0]["data"], "kept");
    assert_eq!(by_game[0]["tags"], json!({ "a": "b" }));
    assert_eq!(by_game[0]["offset"], placed["offset"]);
}

async fn a_closed_room_takes_no_words(database: Database) {
    let daemon = hub(database)
        .set("kind.table.empty_ttl", "1s")
        .start()
        .await;
    let host = left_room(&daemon, "table").await;
    eventually("the room is closed", async || {
        let room = daemon.room(&host.room).await;
        let is_closed = room["status"] == "closed";
        is_closed.then_some(()).ok_or(room.to_string())
    })
    .await;

    let body = json!({ "channel": host.channel, "data": 1 });
    assert_eq!(
        error(&daemon, "publish", body).await,
        (1003, "ROOM_CLOSED".to_owned())
    );
}

#[tokio::test]
async fn what_is_said_to_nobody_is_kept_for_whoever_comes() {
    let daemon = hub(Database::Sqlite).start().await;
    for number in 1..=3 {
        let body = json!({ "channel": "lobby:later", "data": number });
        assert_eq!(result(&daemon, "publish", body).await["offset"], number);
    }
    let (mut client, _) = guest(&daemon).await;
    let kept = history(&daemon, "lobby:later").await;
    let epoch = kept["epoch"].as_str().unwrap();

    let recovered = client.recovers("lobby:later", epoch, 1).await.unwrap();

    assert_eq!(recovered["recovered"], true);
    let offsets: Vec<_> = recovered["publications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["offset"])
        .collect();
    assert_eq!(offsets, [2, 3]);
}

#[tokio::test]
async fn what_is_said_to_nobody_is_forgotten_with_its_history() {
    let daemon = hub(Database::Sqlite)
        .set("kind.lobby.history_ttl", "1s")
        .start()
        .await;
    let body = json!({ "channel": "lobby:later", "data": 1 });
    result(&daemon, "publish", body).await;
    assert_eq!(daemon.actors().await.rooms, 1);

    eventually("the channel goes", async || {
        let rooms = daemon.actors().await.rooms;
        (rooms == 0).then_some(()).ok_or(format!("{rooms} rooms"))
    })
    .await;
}

#[tokio::test]
async fn what_skips_the_history_is_heard_and_not_kept() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, _) = guest(&daemon).await;
    client.subscribes("lobby:a").await.unwrap();

    let passing = json!({ "channel": "lobby:a", "data": "now", "skip_history": true });
    assert_eq!(result(&daemon, "publish", passing).await, json!({}));
    let kept = json!({ "channel": "lobby:a", "data": "kept" });
    assert_eq!(result(&daemon, "publish", kept).await["offset"], 1);

    let first = client.hears("lobby:a").await;
    assert_eq!(first["data"], "now");
    assert!(first.get("offset").is_none(), "{first}");
    assert_eq!(client.hears("lobby:a").await["data"], "kept");
    assert_eq!(
        history(&daemon, "lobby:a").await["publications"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A channel without history has no places to tell.
    let plain = json!({ "channel": "plain:a", "data": 1 });
    assert_eq!(result(&daemon, "publish", plain).await, json!({}));
}

#[tokio::test]
async fn the_same_key_is_published_once_and_answered_alike() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, _) = guest(&daemon).await;
    for channel in ["lobby:a", "plain:a"] {
        client.subscribes(channel).await.unwrap();
        let once = json!({ "channel": channel, "data": "once", "idempotency_key": "k1" });
        let first = result(&daemon, "publish", once.clone()).await;
        let again = join_all((0..8).map(|_| result(&daemon, "publish", once.clone()))).await;
        assert_eq!(again, vec![first; 8]);

        let last = json!({ "channel": channel, "data": "last" });
        result(&daemon, "publish", last).await;
        assert_eq!(client.hears(channel).await["data"], "once");
        assert_eq!(client.hears(channel).await["data"], "last");
    }
    // A key is of one channel.
    let other = json!({ "channel": "lobby:b", "data": "once", "idempotency_key": "k1" });
    assert_eq!(result(&daemon, "publish", other).await["offset"], 1);
}

#[tokio::test]
async fn a_broadcast_is_answered_for_each_channel_in_their_order() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, _) = guest(&daemon).await;
    client.subscribes("lobby:b").await.unwrap();
    let channels = json!(["lobby:a", "undefined:a", "lobby:b", "", "plain:a"]);
    let body = json!({ "channels": channels, "data": 7, "idempotency_key": "k" });

    for _ in 0..2 {
        let answer = calls(&daemon, "broadcast", body.clone()).await.expect(200);
        let responses = answer["result"]["responses"].as_array().unwrap();
        assert_eq!(responses.len(), 5, "{answer}");
        assert_eq!(responses[0]["result"]["offset"], 1, "{answer}");
        assert_eq!(responses[1]["error"]["code"], 102, "{answer}");
        assert_eq!(responses[2]["result"]["offset"], 1, "{answer}");
        assert_eq!(responses[3]["error"]["code"], 107, "{answer}");
        assert_eq!(responses[4]["result"], json!({}), "{answer}");
    }

    let body = json!({ "channel": "lobby:b", "data": 8 });
    result(&daemon, "publish", body).await;
    assert_eq!(client.hears("lobby:b").await["data"], 7);
    assert_eq!(client.hears("lobby:b").await["data"], 8);
}

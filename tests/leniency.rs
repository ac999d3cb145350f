//! How values may be written: a number by its value, a room's code as people type it.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Daemon, Database, Player, Refusal, on_both_databases};

on_both_databases!(
    an_engine_that_writes_all_numbers_with_a_fraction_plays_and_recovers,
    a_room_is_found_by_its_code_as_people_type_it,
);

/// What a Godot or Lua client sends, where each number is a float.
async fn an_engine_that_writes_all_numbers_with_a_fraction_plays_and_recovers(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let fields = json!({ "kind": "duel", "seat": 1.0, "grace": 60.0 });
    let host = Player::opens_with(&daemon, fields).await;
    assert_eq!(host.seat, Some(1));
    let path = format!("/v1/rooms/{}/seats/1/hold", host.room);
    let held = daemon.post_as_game(&path, json!({ "seconds": 90.0 }));
    let seat = held.send().await.expect(200);
    assert!(seat["seat"]["hold_seconds"].as_f64().unwrap() > 60.0);

    let (mut client, _) = Client::connect(daemon.address(), &host.token).await;
    client
        .sends(Message::text(
            r#"{"id":77.0,"rpc":{"method":"session.get"}}"#,
        ))
        .await;
    let got = client.reply(77, "rpc").await.unwrap();
    assert_eq!(got["data"]["seats"][0]["seat"], 1);
    let subscribed = client.subscribes(&host.channel).await.unwrap();
    let epoch = subscribed["epoch"].clone();
    for word in ["a", "b", "c"] {
        client.publishes(&host.channel, json!(word)).await.unwrap();
    }
    let history = json!({ "channel": host.channel, "limit": 2.0, "since": { "offset": 0.0, "epoch": epoch } });
    let history = client.asks("history", history).await.unwrap();
    assert_eq!(history["publications"].as_array().unwrap().len(), 2);
    let history = json!({ "channel": host.channel, "limit": 1.0 });
    let history = daemon.post_as_game("/api/history", history).send().await;
    assert_eq!(
        history.expect(200)["result"]["publications"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );

    client.unsubscribes(&host.channel).await.unwrap();
    let recovery =
        json!({ "channel": host.channel, "recover": true, "epoch": epoch, "offset": 1.0 });
    let recovered = client.asks("subscribe", recovery).await.unwrap();
    assert_eq!(recovered["recovered"], true, "{recovered}");

    a_number_that_is_not_whole_is_refused_in_words(&daemon, &host, client).await;
}

async fn a_number_that_is_not_whole_is_refused_in_words(
    daemon: &Daemon,
    host: &Player,
    mut client: Client,
) {
    let seat = Player::tries_to_join(daemon, &host.room, json!({ "seat": 1.5 })).await;
    assert_eq!(seat.refusal(), (400, "BAD_REQUEST"));
    let detail = seat.body["detail"].as_str().unwrap();
    assert!(detail.contains("seat must be a whole number"), "{detail}");
    for seat in ["1.5", "1e400", "-1.0", "65536.0"] {
        let data = format!(r#"{{"room":"{}","seat":{seat}}}"#, host.room);
        let command = format!(r#"{{"id":900,"rpc":{{"method":"room.join","data":{data}}}}}"#);
        let (mut fresh, _) = Client::connect(daemon.address(), &host.token).await;
        fresh.sends(Message::text(command)).await;
        let refusal = fresh.reply(900, "rpc").await.unwrap_err();
        let words = "BAD_REQUEST: seat must be a whole number from 0 to 65535";
        assert_eq!(refusal, Refusal::error(107, words), "{seat}");
        client = fresh;
    }
    let command = json!({ "channel": host.channel, "recover": true, "offset": 1.5 });
    let Refusal::Closed { code, reason } = client.asks("subscribe", command).await.unwrap_err()
    else {
        panic!("half an offset was taken");
    };
    assert_eq!(code, 3501);
    let words = "a whole number from 0 to 18446744073709551615";
    assert!(reason.contains(words), "{reason}");
}

async fn a_room_is_found_by_its_code_as_people_type_it(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (front, back) = host.room.split_at(3);
    let lower = host.room.to_lowercase();
    let typed: [String; 4] = [
        lower.clone(),
        format!("{front}-{back}"),
        format!(" {} {} ", front.to_lowercase(), back),
        host.room.chars().flat_map(|c| [c, ' ']).collect(),
    ];
    let (mut client, _) = host.connects(&daemon).await;
    for code in &typed {
        let escaped = code.replace(' ', "%20");
        assert_eq!(daemon.room(&escaped).await["code"], host.room, "{code}");
        let got = client.calls("room.get", json!({ "room": code })).await;
        assert_eq!(got.unwrap()["room"]["code"], host.room, "{code}");
        let joined = Player::joins(&daemon, &escaped).await;
        assert_eq!(joined.room, host.room);
    }
    let again = client.calls("room.join", json!({ "room": typed[1] })).await;
    assert_eq!(again.unwrap()["seat"]["seat"].as_u64(), host.seat);
    let wrong: Value = json!({ "room": format!("{front}.{back}") });
    let wrong = client.calls("room.get", wrong).await.unwrap_err();
    assert_eq!(wrong, Refusal::error(1001, "ROOM_NOT_FOUND"));
    // A channel has one name.
    let channel = format!("table:{}", typed[1]);
    let refused = client.subscribes(&channel).await.unwrap_err();
    assert_eq!(refused.code(), 102);
}

//! Open channels: who may enter them, who hears of whom, and those that the hub enters for a client.

use holdfast::wire::Encoding;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Player, on_both_databases};

on_both_databases!(
    members_hear_who_comes_and_goes,
    who_cannot_be_told_any_more_has_left,
    a_crowd_hears_all_that_is_said_in_order,
    a_client_hears_its_own_channel_without_asking,
    a_channel_for_some_users_is_closed_to_others,
    a_channel_of_no_kind_is_unknown,
);

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// A hub with channels without a colon, whose members hear of each other.
async fn social(database: Database) -> Daemon {
    Daemon::on(database)
        .set("kind.default.join_leave", "true")
        .set("kind.default.seats", "0")
        .set("auth.personal_channel", "true")
        .start()
        .await
}

/// A guest at a socket of this encoding, and its connect result.
async fn guest(daemon: &Daemon, encoding: Encoding) -> (Client, Value) {
    let mut client = Client::dial_as(daemon.address(), encoding).await;
    let result = client.connects("").await.unwrap();
    (client, result)
}

fn id(result: &Value) -> &str {
    result["client"].as_str().unwrap()
}

async fn members_hear_who_comes_and_goes(database: Database) {
    let daemon = social(database).await;
    for encoding in ENCODINGS {
        let (mut ana, ana_is) = guest(&daemon, encoding).await;
        let (mut ben, ben_is) = guest(&daemon, Encoding::Json).await;
        let is_ben = |body: &Value| body["info"]["client"] == ben_is["client"];

        ana.subscribes("plaza").await.unwrap();
        let own = ana.hears_push("plaza", "join", |_| true).await;
        assert_eq!(own["info"]["client"], ana_is["client"]);
        assert_eq!(own["info"]["user"], ana_is["data"]["user"]["id"]);
        assert_eq!(own["info"]["conn_info"], json!({ "name": "Guest" }));

        ben.subscribes("plaza").await.unwrap();
        ana.hears_push("plaza", "join", is_ben).await;
        ben.unsubscribes("plaza").await.unwrap();
        ana.hears_push("plaza", "leave", is_ben).await;

        ben.subscribes("plaza").await.unwrap();
        ben.drops_the_line();
        ana.unsubscribes("plaza").await.unwrap();
        let pushes = ana.heard_in_order().len();
        let answer = ana.asks("presence", json!({ "channel": "plaza" })).await;
        assert_eq!(answer.unwrap_err().code(), 103);
        assert_eq!(
            ana.heard_in_order().len(),
            pushes + 1,
            "told after it had left"
        );
    }
}

async fn who_cannot_be_told_any_more_has_left(database: Database) {
    let daemon = social(database).await;
    let (mut ana, _) = guest(&daemon, Encoding::Json).await;
    let (mut ben, ben_is) = guest(&daemon, Encoding::Json).await;
    ana.subscribes("plaza").await.unwrap();
    ben.subscribes("plaza").await.unwrap();

    ben.drops_the_line();

    let is_ben = |body: &Value| body["info"]["client"] == ben_is["client"];
    ana.hears_push("plaza", "leave", is_ben).await;
    let presence = ana
        .asks("presence_stats", json!({ "channel": "plaza" }))
        .await;
    assert_eq!(presence, Ok(json!({ "num_clients": 1, "num_users": 1 })));
}

async fn a_crowd_hears_all_that_is_said_in_order(database: Database) {
    let daemon = social(database).await;
    let mut crowd = Vec::new();
    for encoding in ENCODINGS.into_iter().cycle().take(80) {
        let (mut client, _) = guest(&daemon, encoding).await;
        client.subscribes("plaza").await.unwrap();
        crowd.push(client);
    }
    let mut words = 0..;

    // A word alone, then more at once than goes out together, then one alone again.
    for count in [1, 30, 1] {
        let said: Vec<u32> = words.by_ref().take(count).collect();
        let word = |word: &u32| ("publish", json!({ "channel": "plaza", "data": word }));
        let commands: Vec<_> = said.iter().map(word).collect();
        crowd[0].says_in_one_frame(&commands).await;

        for client in &mut crowd {
            for word in &said {
                assert_eq!(client.hears("plaza").await["data"], *word);
            }
        }
    }
}

async fn a_client_hears_its_own_channel_without_asking(database: Database) {
    let daemon = social(database).await;
    for encoding in ENCODINGS {
        let player = Player::opens(&daemon).await;
        let own = format!("#{}", player.user);
        let mut client = Client::dial_as(daemon.address(), encoding).await;
        let connected = client.connects(&player.token).await.unwrap();
        let position = connected["subs"][&own].clone();
        assert_eq!(position["recoverable"], true, "{connected}");
        let is_own = |body: &Value| body["info"]["client"] == id(&connected);
        client.hears_push(&own, "join", is_own).await;

        let twice = client.subscribes(&own).await;
        assert_eq!(twice.unwrap_err().code(), 105);
        client.publishes(&own, json!("hello")).await.unwrap();
        assert_eq!(client.hears(&own).await["data"], "hello");

        // A second connection of the user would end this one; the channel must live on to be recovered.
        let mut keeper = Client::dial_as(daemon.address(), encoding).await;
        let subs = json!({ &own: { "recover": true, "epoch": position["epoch"], "offset": position["offset"] } });
        let back = keeper
            .asks("connect", json!({ "token": player.token, "subs": subs }))
            .await
            .unwrap();
        let recovered = &back["subs"][&own];
        if recovered["epoch"] == position["epoch"] {
            assert_eq!(recovered["recovered"], true, "{back}");
            assert_eq!(recovered["publications"][0]["data"], "hello");
        } else {
            assert!(recovered.get("recovered").is_none(), "{back}");
        }
        keeper.unsubscribes(&own).await.unwrap();
    }
}

async fn a_channel_for_some_users_is_closed_to_others(database: Database) {
    let daemon = social(database).await;
    let (mut ana, ana_is) = guest(&daemon, Encoding::Json).await;
    let (mut ben, ben_is) = guest(&daemon, Encoding::Json).await;
    let user = |result: &Value| result["data"]["user"]["id"].as_str().unwrap().to_owned();
    let both = format!("dialog#{},{}", user(&ana_is), user(&ben_is));
    let own = format!("#{}", user(&ana_is));

    ana.subscribes(&both).await.unwrap();
    ben.subscribes(&both).await.unwrap();
    ben.publishes(&both, json!("for us")).await.unwrap();
    assert_eq!(ana.hears(&both).await["data"], "for us");

    for (command, body) in [
        ("subscribe", json!({ "channel": own })),
        ("publish", json!({ "channel": own, "data": 1 })),
        ("history", json!({ "channel": own })),
        ("presence", json!({ "channel": own })),
        ("subscribe", json!({ "channel": "$secret" })),
        ("subscribe", json!({ "channel": "$lobby:secret" })),
    ] {
        let refused = ben.asks(command, body.clone()).await.unwrap_err();
        assert_eq!(refused.code(), 103, "{command} {body}");
    }
}

async fn a_channel_of_no_kind_is_unknown(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let (mut client, connected) = guest(&daemon, Encoding::Json).await;
    assert!(connected.get("subs").is_none(), "{connected}");
    for channel in ["plaza", "nothing:x", "$nothing:x", ":x", "lobby"] {
        let refused = client.subscribes(channel).await.unwrap_err();
        let code = if channel.starts_with('$') { 103 } else { 102 };
        assert_eq!(refused.code(), code, "{channel}");
    }
}

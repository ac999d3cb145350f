//! `presence`, `presence_stats`, `history`, `history_remove`, `channels` and `info`.

use serde_json::{Value, json};

use super::{error, guest, hub, result, session_of, user};
use crate::support::{Client, Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    a_game_server_sees_who_is_in_a_room,
    a_past_is_read_in_pages_and_forgotten,
);

async fn a_game_server_sees_who_is_in_a_room(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut client = host.connects(&daemon).await.0;
    let nobody = result(&daemon, "presence", json!({ "channel": host.channel })).await;
    assert_eq!(nobody, json!({ "presence": {} }));
    client.subscribes(&host.channel).await.unwrap();

    let presence = result(&daemon, "presence", json!({ "channel": host.channel })).await;
    let members = presence["presence"].as_object().unwrap();
    assert_eq!(members.len(), 1);
    for (id, info) in members {
        assert_eq!(info["client"], id.as_str());
        assert_eq!(info["user"], host.user.as_str());
        assert_eq!(info["chan_info"]["seat"], 0);
    }
    let (mut one, connected) = guest(&daemon).await;
    let mut two = Client::dial(daemon.address()).await;
    two.connects("").await.unwrap();
    for client in [&mut one, &mut two] {
        client.subscribes("lobby:a").await.unwrap();
    }
    let stats = result(&daemon, "presence_stats", json!({ "channel": "lobby:a" })).await;
    assert_eq!(stats, json!({ "num_clients": 2, "num_users": 2 }));
    let presence = result(&daemon, "presence", json!({ "channel": "lobby:a" })).await;
    let own = connected["client"].as_str().unwrap();
    assert_eq!(presence["presence"][own]["user"], user(&connected));
    let mut twice = Vec::new();
    for _ in 0..2 {
        let token = session_of(&daemon, "ana").await;
        let (mut client, _) = Client::connect(daemon.address(), &token).await;
        client.subscribes("lobby:b").await.unwrap();
        twice.push(client);
    }
    let stats = result(&daemon, "presence_stats", json!({ "channel": "lobby:b" })).await;
    assert_eq!(stats, json!({ "num_clients": 2, "num_users": 1 }));

    for method in ["presence", "presence_stats"] {
        for (channel, code) in [
            ("plain:a", 108),
            ("undefined:a", 102),
            ("", 107),
            ("table:222222", 102),
        ] {
            let body = json!({ "channel": channel });
            assert_eq!(
                error(&daemon, method, body).await.0,
                code,
                "{method} {channel}"
            );
        }
    }
}

async fn page(daemon: &Daemon, channel: &str, more: Value) -> Vec<u64> {
    let mut body = more;
    body["channel"] = json!(channel);
    let result = result(daemon, "history", body).await;
    let publications = result["publications"].as_array().unwrap();
    let offsets = publications
        .iter()
        .map(|one| one["offset"].as_u64().unwrap());
    offsets.collect()
}

async fn a_past_is_read_in_pages_and_forgotten(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    for channel in ["lobby:a", &host.channel] {
        // An open channel lives on from here, although nobody listens.
        result(&daemon, "publish", json!({ "channel": channel, "data": 0 })).await;
        let position = result(&daemon, "history", json!({ "channel": channel })).await;
        assert_eq!(position["publications"], json!([]));
        let (start, epoch) = (position["offset"].as_u64().unwrap(), &position["epoch"]);
        for _ in 0..4 {
            result(
                &daemon,
                "publish",
                json!({ "channel": channel, "data": {} }),
            )
            .await;
        }
        let since = json!({ "offset": start + 1, "epoch": epoch });
        let next = page(&daemon, channel, json!({ "limit": 2, "since": since })).await;
        assert_eq!(next, [start + 2, start + 3]);
        let newest = page(&daemon, channel, json!({ "limit": 1, "reverse": true })).await;
        assert_eq!(newest, [start + 4]);
        let since = json!({ "offset": start, "epoch": "other" });
        let body = json!({ "channel": channel, "since": since });
        assert_eq!(error(&daemon, "history", body).await.0, 112);

        let forgotten = result(&daemon, "history_remove", json!({ "channel": channel })).await;
        assert_eq!(forgotten, json!({}));
        let position = result(
            &daemon,
            "history",
            json!({ "channel": channel, "limit": -1 }),
        )
        .await;
        let nothing = json!({ "publications": [], "offset": start + 4, "epoch": epoch });
        assert_eq!(position, nothing, "{channel}");
        let placed = result(&daemon, "publish", json!({ "channel": channel, "data": 1 })).await;
        assert_eq!(placed["offset"], start + 5);
    }
    for method in ["history", "history_remove"] {
        for (channel, code) in [("plain:a", 108), ("undefined:a", 102), ("", 107)] {
            let body = json!({ "channel": channel });
            assert_eq!(
                error(&daemon, method, body).await.0,
                code,
                "{method} {channel}"
            );
        }
    }
}

/// Waits until so many hear each channel: a room says how many do just after it has told whoever came or went.
async fn are_heard(daemon: &Daemon, pattern: &str, expected: &Value) {
    eventually(&format!("the channels of `{pattern}`"), async || {
        let found = result(daemon, "channels", json!({ "pattern": pattern })).await;
        let channels = found["channels"].as_object().unwrap();
        let counts: Value = channels
            .iter()
            .map(|(name, channel)| (name.clone(), channel["num_clients"].clone()))
            .collect();
        (counts == *expected).then_some(()).ok_or(found.to_string())
    })
    .await;
}

#[tokio::test]
async fn channels_that_somebody_hears_are_found_by_pattern() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut one, _) = guest(&daemon).await;
    let (mut two, _) = guest(&daemon).await;
    for channel in ["lobby:a", "lobby:b", "crowd:a"] {
        one.subscribes(channel).await.unwrap();
    }
    two.subscribes("lobby:a").await.unwrap();
    // Nobody hears this one.
    result(
        &daemon,
        "publish",
        json!({ "channel": "lobby:c", "data": 1 }),
    )
    .await;

    for (pattern, expected) in [
        ("", json!({ "lobby:a": 2, "lobby:b": 1, "crowd:a": 1 })),
        ("lobby:*", json!({ "lobby:a": 2, "lobby:b": 1 })),
        ("*:a", json!({ "lobby:a": 2, "crowd:a": 1 })),
        ("lobby:?", json!({ "lobby:a": 2, "lobby:b": 1 })),
        ("nothing", json!({})),
    ] {
        are_heard(&daemon, pattern, &expected).await;
    }
    assert_eq!(
        error(&daemon, "channels", json!({ "pattern": "*".repeat(256) }))
            .await
            .0,
        107
    );

    one.unsubscribes("crowd:a").await.unwrap();
    are_heard(&daemon, "crowd:*", &json!({})).await;
}

#[tokio::test]
async fn the_hub_tells_of_itself() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut one, _) = guest(&daemon).await;
    let (_two, _) = guest(&daemon).await;
    for channel in ["lobby:a", "lobby:b"] {
        one.subscribes(channel).await.unwrap();
    }

    // A room says how many hear it just after it has told whoever came.
    let info = eventually("both channels are counted", async || {
        let info = result(&daemon, "info", json!({})).await;
        let is_counted = info["nodes"][0]["num_subs"] == 2;
        is_counted.then_some(info.clone()).ok_or(info.to_string())
    })
    .await;

    let node = &info["nodes"][0];
    assert_eq!(info["nodes"].as_array().unwrap().len(), 1);
    for (field, number) in [
        ("num_clients", 2),
        ("num_users", 2),
        ("num_channels", 2),
        ("num_subs", 2),
    ] {
        assert_eq!(node[field], number, "{field}: {info}");
    }
    for field in ["uid", "name", "version"] {
        assert!(
            node[field].as_str().is_some_and(|text| !text.is_empty()),
            "{info}"
        );
    }
    assert!(
        node["process"]["rss"]
            .as_u64()
            .is_some_and(|rss| rss > 1 << 20),
        "{info}"
    );
    assert!(node["process"]["cpu"].is_f64(), "{info}");

    one.drops_the_line();
    eventually("the other is alone", async || {
        let info = result(&daemon, "info", json!({})).await;
        let is_alone = info["nodes"][0]["num_clients"] == 1 && info["nodes"][0]["num_subs"] == 0;
        is_alone.then_some(()).ok_or(info.to_string())
    })
    .await;
}

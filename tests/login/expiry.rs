//! What a token grants lasts as long as the token says, and goes on with a new one.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Issuer, Refusal, eventually, in_seconds};

const SECRET: &str = "a-secret-of-thirty-two-characters";

/// How long tokens are good that a test waits for: time enough to be used on a busy machine.
const SHORT: i64 = 6;

fn game() -> Issuer {
    Issuer::secret(Algorithm::HS256, SECRET)
}

/// A token of `u1` that is good for so many seconds.
fn lasting(seconds: i64) -> String {
    game().signs(json!({ "sub": "u1", "exp": in_seconds(seconds) }))
}

fn for_channel(channel: &str, mut claims: Value) -> String {
    claims["sub"] = json!("u1");
    claims["channel"] = json!(channel);
    game().signs(claims)
}

async fn daemon() -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("client.expiry_grace", "1s")
        .start()
        .await
}

/// A client with a token that does not end.
async fn connected(daemon: &Daemon, user: &str) -> Client {
    let token = game().signs(json!({ "sub": user }));
    Client::connect(daemon.address(), &token).await.0
}

async fn subscribes_with(
    client: &mut Client,
    channel: &str,
    token: &str,
) -> Result<Value, Refusal> {
    let body = json!({ "channel": channel, "token": token });
    client.asks("subscribe", body).await
}

/// The pushes that told a client of the end of a subscription.
fn unsubscribed(client: &Client, channel: &str) -> Vec<Value> {
    let frames = client.heard_in_order().into_iter();
    frames
        .filter(|frame| frame["push"]["channel"] == channel)
        .filter_map(|mut frame| frame["push"].get_mut("unsubscribe").map(Value::take))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_token_unless_it_brings_a_new_one() {
    let daemon = daemon().await;
    let short = lasting(SHORT);
    let (mut faithful, told) = Client::connect(daemon.address(), &short).await;
    // Connected later with the same token, so that it ends after the other would have.
    let (mut witness, _) = Client::connect(daemon.address(), &short).await;

    let refreshed = faithful
        .asks("refresh", json!({ "token": lasting(3600) }))
        .await
        .unwrap();
    let closed = witness.closed().await;

    assert_eq!(told["expires"], true);
    assert!(
        (1..=SHORT).contains(&told["ttl"].as_i64().unwrap()),
        "{told}"
    );
    assert_eq!(refreshed["client"], told["client"]);
    assert_eq!(refreshed["expires"], true);
    let ttl = refreshed["ttl"].as_i64().unwrap();
    assert!((3000..=3600).contains(&ttl), "{refreshed}");
    assert_eq!(closed, (3005, "connection expired".to_owned()));
    faithful.calls("session.get", json!({})).await.unwrap();
    let series = "holdfast_connections_closed_total{reason=\"expired\"}";
    assert_eq!(daemon.metrics().await.value(series), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_is_kept_when_its_players_token_ends() {
    let daemon = daemon().await;
    let (mut client, _) = Client::connect(daemon.address(), &lasting(SHORT)).await;
    let opened = client.calls("room.open", json!({})).await.unwrap();

    assert_eq!(client.closed().await.0, 3005);
    let (_again, told) = Client::connect(daemon.address(), &lasting(3600)).await;

    assert_eq!(told["data"]["seats"][0]["room"], opened["room"]["code"]);
    assert_eq!(told["data"]["seats"][0]["status"], "held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_takes_a_good_token_of_the_same_user_only() {
    let daemon = daemon().await;
    let forger = Issuer::secret(Algorithm::HS256, "another-secret");

    for (token, code) in [
        (game().lets_in("u2"), 3500),
        (forger.lets_in("u1"), 3500),
        ("hello".to_owned(), 3500),
        (for_channel("lobby:all", json!({})), 3500),
        (lasting(-1), 3005),
        (String::new(), 3501),
    ] {
        let mut client = connected(&daemon, "u1").await;
        let refreshed = client.asks("refresh", json!({ "token": token })).await;
        assert_eq!(refreshed.unwrap_err().code(), code, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_an_end_may_get_one_and_lose_it_again() {
    let daemon = daemon().await;
    let mut client = connected(&daemon, "u1").await;

    let ends = json!({ "token": lasting(3600) });
    let ends = client.asks("refresh", ends).await.unwrap();
    let endless = game().signs(json!({ "sub": "u1", "exp": in_seconds(9), "expire_at": 0 }));
    let endless = client.asks("refresh", json!({ "token": endless })).await;

    assert_eq!(ends["expires"], true);
    let endless = endless.unwrap();
    assert_eq!(endless.get("expires"), None);
    assert_eq!(endless.get("ttl"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_there_is_nothing_to_refresh() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut client = Client::dial(daemon.address()).await;
    client.asks("connect", json!({})).await.unwrap();

    let refreshed = client.asks("refresh", json!({ "token": "x" })).await;

    assert_eq!(refreshed, Err(Refusal::error(108, "not available")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_see_of_a_player_comes_from_its_newest_token() {
    let daemon = daemon().await;
    let told = |info: Value| game().signs(json!({ "sub": "u1", "info": info }));
    let mut watching = connected(&daemon, "u2").await;
    watching.subscribes("lobby:all").await.unwrap();
    let first = told(json!({ "name": "Ana", "level": 1 }));
    let (mut client, _) = Client::connect(daemon.address(), &first).await;
    client.subscribes("lobby:all").await.unwrap();

    client.publishes("lobby:all", json!(1)).await.unwrap();
    let before = watching.hears("lobby:all").await;
    let second = told(json!({ "level": 2 }));
    let refreshing = client.asks("refresh", json!({ "token": second }));
    refreshing.await.unwrap();
    client.publishes("lobby:all", json!(2)).await.unwrap();
    let after = watching.hears("lobby:all").await;
    let presence = json!({ "channel": "lobby:all" });
    let presence = watching.asks("presence", presence).await.unwrap();

    assert_eq!(before["info"]["user"], "u1");
    assert_eq!(
        before["info"]["conn_info"],
        json!({ "name": "Ana", "level": 1 })
    );
    assert_eq!(after["info"]["conn_info"], json!({ "level": 2 }));
    let present = presence["presence"].as_object().unwrap().values();
    let shown: Vec<&Value> = present
        .filter(|who| who["user"] == "u1")
        .map(|who| &who["conn_info"])
        .collect();
    assert_eq!(shown, [&json!({ "level": 2 })]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_token_opens_a_channel_that_is_closed_otherwise() {
    let daemon = daemon().await;
    let mut host = connected(&daemon, "u2").await;
    let opened = host.calls("room.open", json!({})).await.unwrap();
    let channel = opened["room"]["channel"].as_str().unwrap();
    let mut client = connected(&daemon, "u1").await;
    let denied = client.subscribes(channel).await;

    let claims = json!({ "exp": in_seconds(3600), "info": { "as": "judge" }, "data": [1] });
    let told = subscribes_with(&mut client, channel, &for_channel(channel, claims)).await;
    let told = told.unwrap();

    assert_eq!(denied.unwrap_err().code(), 103);
    assert_eq!(told["expires"], true);
    assert!(
        (3000..=3600).contains(&told["ttl"].as_i64().unwrap()),
        "{told}"
    );
    assert_eq!(told["data"], json!([1]));
    host.subscribes(channel).await.unwrap();
    host.publishes(channel, json!("move")).await.unwrap();
    assert_eq!(client.hears_a_player(channel).await["data"], "move");
    let presence = host.asks("presence", json!({ "channel": channel })).await;
    let presence = presence.unwrap();
    let mut present = presence["presence"].as_object().unwrap().values();
    let judge = present.find(|who| who["user"] == "u1").unwrap();
    assert_eq!(judge["chan_info"], json!({ "as": "judge" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_token_for_a_room_hears_it_on_without_a_seat() {
    let daemon = daemon().await;
    let mut host = connected(&daemon, "u2").await;
    let opened = host.calls("room.open", json!({})).await.unwrap();
    let (code, channel) = (&opened["room"]["code"], &opened["room"]["channel"]);
    let channel = channel.as_str().unwrap();
    let room = json!({ "room": code });
    host.subscribes(channel).await.unwrap();
    let mut granted = connected(&daemon, "u1").await;
    let mut seated = connected(&daemon, "u3").await;
    for player in [&mut granted, &mut seated] {
        player.calls("room.join", room.clone()).await.unwrap();
    }
    let token = for_channel(channel, json!({ "info": { "as": "judge" } }));
    subscribes_with(&mut granted, channel, &token)
        .await
        .unwrap();
    seated.subscribes(channel).await.unwrap();

    for player in [&mut granted, &mut seated] {
        player.calls("seat.release", room.clone()).await.unwrap();
    }

    seated.hears_push(channel, "unsubscribe", |_| true).await;
    host.publishes(channel, json!("move")).await.unwrap();
    assert_eq!(granted.hears_a_player(channel).await["data"], "move");
    assert_eq!(unsubscribed(&granted, channel), [] as [Value; 0]);
    assert_eq!(unsubscribed(&seated, channel)[0]["code"], 2000);
    let presence = host.asks("presence", json!({ "channel": channel })).await;
    let presence = presence.unwrap();
    let mut present = presence["presence"].as_object().unwrap().values();
    let judge = present.find(|who| who["user"] == "u1").unwrap();
    assert_eq!(judge["chan_info"], json!({ "as": "judge" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_subscription_token_opens_nothing() {
    let daemon = daemon().await;
    let forger = Issuer::secret(Algorithm::HS256, "another-secret");
    let foreign_user = json!({ "sub": "u2", "channel": "lobby:all" });
    let nobody = json!({ "channel": "lobby:all" });

    for (token, code) in [
        (for_channel("lobby:all", json!({ "exp": 1 })), 109),
        (
            for_channel("lobby:all", json!({ "nbf": in_seconds(600) })),
            109,
        ),
        (
            forger.signs(json!({ "sub": "u1", "channel": "lobby:all" })),
            103,
        ),
        ("hello".to_owned(), 103),
        (for_channel("lobby:other", json!({})), 3500),
        (game().lets_in("u1"), 3500),
        (game().signs(foreign_user), 3500),
        (game().signs(nobody), 3500),
    ] {
        let mut client = connected(&daemon, "u1").await;
        let subscribed = subscribes_with(&mut client, "lobby:all", &token).await;
        assert_eq!(subscribed.unwrap_err().code(), code, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_with_its_token_unless_it_brings_a_new_one() {
    let daemon = daemon().await;
    let mut client = connected(&daemon, "u1").await;
    for channel in ["lobby:kept", "lobby:lost"] {
        let token = for_channel(channel, json!({ "exp": in_seconds(SHORT) }));
        let told = subscribes_with(&mut client, channel, &token).await.unwrap();
        assert_eq!(told["expires"], true, "{told}");
    }

    let newer = for_channel("lobby:kept", json!({ "exp": in_seconds(3600) }));
    let refresh = json!({ "channel": "lobby:kept", "token": newer });
    let refreshed = client.asks("sub_refresh", refresh).await.unwrap();
    let ended = eventually("the other subscription ends", async || {
        let ended = unsubscribed(&client, "lobby:lost");
        ended.first().cloned().ok_or(String::new())
    })
    .await;

    assert_eq!(refreshed["expires"], true);
    assert_eq!(ended["code"], 2501);
    assert_eq!(ended["reason"], "subscription expired");
    client
        .publishes("lobby:kept", json!("still here"))
        .await
        .unwrap();
    assert_eq!(client.hears("lobby:kept").await["data"], "still here");
    assert_eq!(unsubscribed(&client, "lobby:kept"), [] as [Value; 0]);
    // It is over, and may begin again.
    let denied = client.publishes("lobby:lost", json!("gone")).await;
    assert_eq!(denied.unwrap_err().code(), 103);
    client.subscribes("lobby:lost").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_refreshed_by_a_good_token_for_it_only() {
    let daemon = daemon().await;
    let forger = Issuer::secret(Algorithm::HS256, "another-secret");
    let forged = forger.signs(json!({ "sub": "u1", "channel": "lobby:all" }));
    let refresh = |channel: &str, token: String| json!({ "channel": channel, "token": token });
    for (body, code) in [
        (
            refresh("lobby:other", for_channel("lobby:other", json!({}))),
            103,
        ),
        (refresh("lobby:all", String::new()), 107),
        (
            refresh("lobby:all", for_channel("lobby:other", json!({}))),
            3500,
        ),
        (refresh("lobby:all", forged), 3500),
    ] {
        let mut client = connected(&daemon, "u1").await;
        client.subscribes("lobby:all").await.unwrap();
        let refreshed = client.asks("sub_refresh", body.clone()).await;
        assert_eq!(refreshed.unwrap_err().code(), code, "{body}");
    }

    // One that its room has ended is none.
    let mut client = connected(&daemon, "u1").await;
    let opened = client.calls("room.open", json!({})).await.unwrap();
    let channel = opened["room"]["channel"].as_str().unwrap();
    client.subscribes(channel).await.unwrap();
    let room = json!({ "room": opened["room"]["code"] });
    client.calls("room.leave", room).await.unwrap();
    client.hears_push(channel, "unsubscribe", |_| true).await;
    let token = refresh(channel, for_channel(channel, json!({})));
    let refreshed = client.asks("sub_refresh", token).await;
    assert_eq!(refreshed.unwrap_err().code(), 103);

    let mut client = connected(&daemon, "u1").await;
    client.subscribes("lobby:all").await.unwrap();
    let late = refresh("lobby:all", for_channel("lobby:all", json!({ "exp": 1 })));
    client.asks("sub_refresh", late).await.unwrap();
    let ended = eventually("the subscription ends", async || {
        let ended = unsubscribed(&client, "lobby:all");
        ended.first().cloned().ok_or(String::new())
    })
    .await;
    assert_eq!(ended["code"], 2501);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_subscribes_its_bearer_from_the_start() {
    let daemon = daemon().await;
    let mut host = connected(&daemon, "u2").await;
    let opened = host.calls("room.open", json!({})).await.unwrap();
    let room = opened["room"]["channel"].as_str().unwrap();
    let claims = json!({
        "sub": "u1",
        "channels": ["lobby:ignored"],
        "subs": { room: { "data": { "x": 1 }, "info": { "as": "judge" } }, "lobby:all": {} },
    });

    let (mut client, told) = Client::connect(daemon.address(), &game().signs(claims)).await;
    host.subscribes(room).await.unwrap();
    host.publishes(room, json!("move")).await.unwrap();

    let channels: Vec<&String> = told["subs"].as_object().unwrap().keys().collect();
    assert_eq!(channels, ["lobby:all", room]);
    assert_eq!(told["subs"][room]["data"], json!({ "x": 1 }));
    assert_eq!(client.hears_a_player(room).await["data"], "move");
    let list = json!({ "sub": "u1", "channels": ["lobby:all", "lobby:more"] });
    let (_client, told) = Client::connect(daemon.address(), &game().signs(list)).await;
    assert_eq!(told["subs"].as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_subscribed_to_all_that_its_token_names_is_not_connected() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("client.channels_max", "3")
        .start()
        .await;
    let long = "x".repeat(256);
    for (channels, expected) in [
        (
            json!(["lobby:a", "undefined:a"]),
            Refusal::error(102, "unknown channel"),
        ),
        (
            json!(["table:222222"]),
            Refusal::error(102, "unknown channel"),
        ),
        (
            json!([long]),
            Refusal::error(107, "bad request: a channel has 1 to 255 ASCII characters"),
        ),
        (
            json!(["lobby:a", "lobby:b", "lobby:c", "lobby:d"]),
            Refusal::Closed {
                code: 3505,
                reason: "channel limit".to_owned(),
            },
        ),
    ] {
        let token = game().signs(json!({ "sub": "u1", "channels": channels }));
        let mut client = Client::dial(daemon.address()).await;
        let refused = client.connects(&token).await.unwrap_err();
        assert_eq!(refused, expected, "{channels}");
    }
    let all = json!({ "sub": "u1", "channels": ["lobby:a", "lobby:b", "lobby:c"] });
    let (mut client, _) = Client::connect(daemon.address(), &game().signs(all)).await;
    let further = client.subscribes("lobby:d").await.unwrap_err();
    assert_eq!(further.code(), 106);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_what_its_token_subscribed_it_to_is_to_connect_again() {
    let daemon = daemon().await;
    let mut host = connected(&daemon, "u2").await;
    let opened = host.calls("room.open", json!({})).await.unwrap();
    let room = opened["room"]["channel"].as_str().unwrap();
    let claims = json!({ "sub": "u1", "channels": [room], "exp": in_seconds(3_600) });
    let token = game().signs(claims);
    let (mut client, _) = Client::connect(daemon.address(), &token).await;

    daemon
        .has_a_panic_in(&json!({ "in": "room", "room": opened["room"]["code"] }))
        .await;

    let lost = (3010, "insufficient state".to_owned());
    assert_eq!(client.closed().await, lost);
    let (_client, told) = Client::connect(daemon.address(), &token).await;
    assert!(told["subs"][room].is_object(), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_channels_of_a_connect_recover_half_a_queue_together() {
    let daemon = Daemon::on(Database::Sqlite)
        .with_api_key()
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("client.message_max", "2KiB")
        .set("client.queue_bytes_max", "64KiB")
        .set("kind.lobby.history_bytes", "256KiB")
        .start()
        .await;
    let channels = ["lobby:a", "lobby:b", "lobby:c", "lobby:d"];
    let token = game().signs(json!({ "sub": "u1", "channels": channels }));
    let say = async |channel: &str, bytes: usize| {
        let body = json!({ "channel": channel, "data": "x".repeat(bytes) });
        let answer = daemon.post_as_game("/api/publish", body).send().await;
        answer.expect(200)["result"].clone()
    };
    let mut subs = json!({});
    for (channel, words) in channels.into_iter().zip([10, 10, 10, 1]) {
        for _ in 0..words {
            let place = say(channel, 1_900).await;
            subs[channel] = json!({ "recover": true, "epoch": place["epoch"], "offset": 0 });
        }
    }

    let mut client = Client::dial(daemon.address()).await;
    let body = json!({ "token": token, "subs": subs });
    let told = client.asks("connect", body).await.unwrap();

    // Half of it is room for one of the long ones and the short one.
    for (channel, top, missed) in [
        ("lobby:a", 10, 10),
        ("lobby:b", 10, 0),
        ("lobby:c", 10, 0),
        ("lobby:d", 1, 1),
    ] {
        let sub = &told["subs"][channel];
        let count = sub["publications"].as_array().map_or(0, Vec::len);
        assert_eq!(sub["was_recovering"], true, "{channel}");
        assert_eq!(count, missed, "{channel}");
        assert_eq!(sub["recovered"] == true, missed > 0, "{channel}");
        let position = if missed > 0 { 0 } else { top };
        assert_eq!(sub["offset"].as_u64().unwrap_or(0), position, "{channel}");
        say(channel, 1).await;
        assert_eq!(client.hears(channel).await["offset"], top + 1);
    }
}

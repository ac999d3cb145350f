//! What a token switches for its bearer alone, in place of what the kind says.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{API_KEY, Client, Daemon, Database, Issuer};

const SECRET: &str = "a-secret-of-thirty-two-characters";

/// A kind that tells who comes and goes; `lobby` does not.
const CROWD: &str = "crowd:a";
const LOBBY: &str = "lobby:a";

fn game() -> Issuer {
    Issuer::secret(Algorithm::HS256, SECRET)
}

async fn daemon() -> Daemon {
    Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("kind.crowd.join_leave", "true")
        .with_api_key()
        .start()
        .await
}

/// Connects a user who hears a channel from the start, with these switches.
async fn enters(daemon: &Daemon, user: &str, channel: &str, switches: &Value) -> (Client, Value) {
    let claims = json!({ "sub": user, "subs": { channel: { "override": switches } } });
    let (client, mut told) = Client::connect(daemon.address(), &game().signs(claims)).await;
    let subscribed = told["subs"][channel].take();
    assert!(subscribed.is_object(), "{told}");
    (client, subscribed)
}

/// The users whose comings and goings a client was told on a channel.
fn told_of(client: &Client, channel: &str, sort: &str) -> Vec<String> {
    let frames = client.heard_in_order();
    let pushes = frames.iter().map(|frame| &frame["push"]);
    let pushes = pushes.filter(|push| push["channel"] == channel);
    let users = pushes.filter_map(|push| push[sort]["info"]["user"].as_str());
    users.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_to_be_shown_is_there_and_not_seen() {
    let daemon = daemon().await;
    let unseen = json!({ "presence": { "value": false } });
    let (mut ghost, _) = enters(&daemon, "ghost", LOBBY, &unseen).await;
    let (mut ana, _) = enters(&daemon, "ana", LOBBY, &json!({})).await;
    let token = json!({ "sub": "ghost", "channel": "lobby:b", "override": unseen });
    let body = json!({ "channel": "lobby:b", "token": game().signs(token) });
    ghost.asks("subscribe", body).await.unwrap();
    ana.subscribes("lobby:b").await.unwrap();

    for channel in [LOBBY, "lobby:b"] {
        let asked = json!({ "channel": channel });
        let present = ana.asks("presence", asked.clone()).await.unwrap();
        let count = ana.asks("presence_stats", asked).await.unwrap();
        let present = present["presence"].as_object().unwrap();
        let users: Vec<_> = present.values().map(|who| &who["user"]).collect();
        assert_eq!(users, ["ana"]);
        assert_eq!(count, json!({ "num_clients": 1, "num_users": 1 }));
        ana.publishes(channel, json!("hello")).await.unwrap();
        assert_eq!(ghost.hears(channel).await["data"], "hello");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comings_and_goings_are_told_of_whom_and_to_whom_the_tokens_say() {
    let daemon = daemon().await;
    let (quiet, deaf) = ("join_leave", "force_push_join_leave");
    let switch = |name: &str, value: bool| json!({ name: { "value": value } });

    // In a kind that tells of nobody, one is told, and of one.
    let (mut watch, _) = enters(&daemon, "watch", LOBBY, &switch(deaf, true)).await;
    let (plain, _) = enters(&daemon, "plain", LOBBY, &json!({})).await;
    let (loud, _) = enters(&daemon, "loud", LOBBY, &switch(quiet, true)).await;
    watch
        .hears_push(LOBBY, "join", |push| push["info"]["user"] == "loud")
        .await;
    drop(loud);
    watch
        .hears_push(LOBBY, "leave", |push| push["info"]["user"] == "loud")
        .await;
    assert_eq!(told_of(&watch, LOBBY, "join"), ["loud"]);
    assert_eq!(told_of(&plain, LOBBY, "join"), [] as [&str; 0]);

    // In a kind that tells of all, one is not told, and of one nobody is.
    let (mut ana, _) = enters(&daemon, "ana", CROWD, &json!({})).await;
    let (deaf, _) = enters(&daemon, "deaf", CROWD, &switch(deaf, false)).await;
    let (quiet, _) = enters(&daemon, "quiet", CROWD, &switch(quiet, false)).await;
    drop(quiet);
    let (last, _) = enters(&daemon, "last", CROWD, &json!({})).await;
    drop(last);
    ana.hears_push(CROWD, "leave", |push| push["info"]["user"] == "last")
        .await;
    assert_eq!(told_of(&ana, CROWD, "join"), ["ana", "deaf", "last"]);
    assert_eq!(told_of(&ana, CROWD, "leave"), ["last"]);
    assert_eq!(told_of(&deaf, CROWD, "join"), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_and_positions_can_be_withheld() {
    let daemon = daemon().await;
    let off = json!({ "value": false });
    let one = json!({ "force_recovery": off });
    let both = json!({ "force_recovery": off, "force_positioning": off });
    let (_, plain) = enters(&daemon, "ana", LOBBY, &json!({})).await;
    let (_, unrecoverable) = enters(&daemon, "bo", LOBBY, &one).await;
    let (_, nothing) = enters(&daemon, "cy", LOBBY, &both).await;

    assert_eq!(plain["recoverable"], true);
    assert_eq!(plain["positioned"], true);
    assert_eq!(unrecoverable.get("recoverable"), None);
    assert_eq!(unrecoverable["positioned"], true);
    assert_eq!(nothing, json!({}));

    let (mut client, _) = enters(&daemon, "dee", "lobby:b", &json!({})).await;
    client.publishes("lobby:b", json!(1)).await.unwrap();
    client.publishes("lobby:b", json!(2)).await.unwrap();
    client.unsubscribes("lobby:b").await.unwrap();
    let told = client.subscribes("lobby:b").await.unwrap();
    client.unsubscribes("lobby:b").await.unwrap();
    let claims = json!({ "sub": "dee", "channel": "lobby:b", "override": both });
    let mut body = json!({
        "channel": "lobby:b", "recover": true, "epoch": told["epoch"], "offset": 1,
        "token": game().signs(claims),
    });
    let unrecovered = client.asks("subscribe", body.clone()).await.unwrap();
    assert_eq!(unrecovered, json!({}));
    client.unsubscribes("lobby:b").await.unwrap();
    // Whoever cannot do without is told so.
    body["flag"] = json!(2);
    let refused = client.asks("subscribe", body).await.unwrap_err();
    assert_eq!(refused.code(), 112);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_server_switches_the_same_for_those_that_it_subscribes() {
    let daemon = daemon().await;
    let (mut ana, _) = Client::connect(daemon.address(), &game().lets_in("ana")).await;
    let (mut bo, _) = enters(&daemon, "bo", LOBBY, &json!({})).await;
    let subscribe = |switches: Value| {
        let body = json!({ "user": "ana", "channel": LOBBY, "override": switches });
        let post = daemon.post("/api/subscribe", body);
        post.header("x-api-key", API_KEY).send()
    };

    let wrong = subscribe(json!({ "presence": true })).await.expect(200);
    let done = subscribe(json!({ "presence": { "value": false } })).await;

    assert_eq!(wrong["error"]["code"], 107);
    assert_eq!(done.expect(200), json!({ "result": {} }));
    ana.hears_push(LOBBY, "subscribe", |_| true).await;
    let asked = json!({ "channel": LOBBY });
    let count = bo.asks("presence_stats", asked).await.unwrap();
    assert_eq!(count["num_clients"], 1);
}

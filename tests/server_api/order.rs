//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`.

use holdfast::wire::Encoding;
use serde_json::{Value, json};

use super::{error, guest, hub, result, session_of, user};
use crate::support::{Client, Database, Player, eventually, on_both_databases};

on_both_databases!(
    a_dismissed_player_keeps_the_seat_for_its_hold,
    all_connections_of_a_user_are_meant_or_those_that_are_named,
    a_game_server_subscribes_a_user_in_either_encoding,
    a_game_server_unsubscribes_a_user_from_a_room,
    what_is_ordered_of_a_user_reaches_all_its_sessions,
    a_user_who_comes_without_a_session_is_the_one_that_sits_there,
);

async fn a_dismissed_player_keeps_the_seat_for_its_hold(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, _) = host.connects(&daemon).await;

    let done = result(&daemon, "disconnect", json!({ "user": host.user })).await;

    assert_eq!(done, json!({}));
    assert_eq!(client.closed().await, (3503, "force disconnect".to_owned()));
    eventually("the seat is away", async || {
        let seat = host.seat_in_room(&daemon).await;
        let is_away = seat["status"] == "away";
        is_away.then_some(()).ok_or(seat.to_string())
    })
    .await;
    let (mut client, _) = host.connects(&daemon).await;
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
    let words = json!({ "code": 4502, "reason": "removed by an operator" });
    let body = json!({ "user": host.user, "disconnect": words });
    result(&daemon, "disconnect", body).await;
    let closed = client.closed().await;
    assert_eq!(closed, (4502, "removed by an operator".to_owned()));
    let series = "holdfast_connections_closed_total{reason=\"dismissed\"}";
    eventually("both closes are counted", async || {
        let count = daemon.metrics().await.value(series);
        (count == 2.0).then_some(()).ok_or(format!("{count}"))
    })
    .await;
}

async fn all_connections_of_a_user_are_meant_or_those_that_are_named(database: Database) {
    let daemon = hub(database).start().await;
    let mut clients = Vec::new();
    let mut connects = Vec::new();
    for _ in 0..4 {
        let token = session_of(&daemon, "ana").await;
        let (client, connected) = Client::connect(daemon.address(), &token).await;
        clients.push(client);
        connects.push(connected);
    }
    let (other, _) = guest(&daemon).await;
    let id = |number: usize| connects[number]["client"].clone();

    let body = json!({ "user": "ana", "client": id(0) });
    result(&daemon, "disconnect", body).await;
    assert_eq!(clients[0].closed().await.0, 3503);
    let session = &connects[1]["data"]["session"]["id"];
    result(&daemon, "disconnect", json!({ "session": session })).await;
    assert_eq!(clients[1].closed().await.0, 3503);
    // Somebody else's connection is not this user's, and what is no id is nobody's.
    for body in [
        json!({ "user": "ben", "client": id(2) }),
        json!({ "user": "ana", "client": "x" }),
        json!({ "user": "nobody" }),
        json!({ "user": "a".repeat(500) }),
    ] {
        assert_eq!(result(&daemon, "disconnect", body).await, json!({}));
    }
    let body = json!({ "user": "ana", "whitelist": [id(3)] });
    result(&daemon, "disconnect", body).await;
    assert_eq!(clients[2].closed().await.0, 3503);
    clients[3].subscribes("lobby:a").await.unwrap();
    assert!(other.is_open());
}

async fn what_is_ordered_of_a_user_reaches_all_its_sessions(database: Database) {
    let daemon = hub(database).start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let token = session_of(&daemon, "ana").await;
        clients.push(Client::connect(daemon.address(), &token).await.0);
    }
    let body = json!({ "user": "ana", "channel": "lobby:a" });

    result(&daemon, "subscribe", body.clone()).await;
    let word = json!({ "channel": "lobby:a", "data": "hello" });
    result(&daemon, "publish", word).await;
    for client in &mut clients {
        client.hears_push("lobby:a", "subscribe", |_| true).await;
        assert_eq!(client.hears("lobby:a").await["data"], "hello");
    }
    result(&daemon, "unsubscribe", body).await;
    for client in &mut clients {
        client.hears_push("lobby:a", "unsubscribe", |_| true).await;
    }
    result(&daemon, "disconnect", json!({ "user": "ana" })).await;
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 3503);
    }
}

#[tokio::test]
async fn an_order_reaches_the_one_connection_that_it_names() {
    let daemon = hub(Database::Sqlite).start().await;
    let mut clients = Vec::new();
    let mut connects = Vec::new();
    for _ in 0..2 {
        let token = session_of(&daemon, "ana").await;
        let (client, connected) = Client::connect(daemon.address(), &token).await;
        clients.push(client);
        connects.push(connected);
    }
    let client = &connects[0]["client"];
    let session = &connects[0]["data"]["session"]["id"];

    for (method, more) in [
        ("subscribe", json!({ "client": client })),
        ("refresh", json!({ "session": session })),
        ("unsubscribe", json!({ "user": "ana", "session": session })),
    ] {
        let mut body = more;
        body["channel"] = json!("lobby:a");
        assert_eq!(result(&daemon, method, body).await, json!({}), "{method}");
        let channel = if method == "refresh" { "" } else { "lobby:a" };
        clients[0].hears_push(channel, method, |_| true).await;
    }

    clients[1].calls("session.get", json!({})).await.unwrap();
    let told = clients[1].heard_in_order();
    assert!(
        told.iter().all(|frame| frame.get("push").is_none()),
        "{told:?}"
    );
}

async fn a_user_who_comes_without_a_session_is_the_one_that_sits_there(database: Database) {
    let daemon = hub(database).start().await;
    let ana = json!({ "user": { "id": "ana" } });
    let opened = daemon.post_as_game("/v1/rooms", ana.clone()).send().await;
    let opened = opened.expect(201);
    let host = Player::from(&opened);
    let _host = host.connects(&daemon).await;
    // Sessions that sit nowhere, and are newer.
    let mut newer = Vec::new();
    for _ in 0..2 {
        let token = session_of(&daemon, "ana").await;
        newer.push(Client::connect(daemon.address(), &token).await.0);
    }

    let join = format!("/v1/rooms/{}/join", host.room);
    let joined = daemon.post_as_game(&join, ana.clone()).send().await;
    newer.pop();
    let again = daemon.post_as_game(&join, ana).send().await;

    for answer in [joined, again] {
        let answer = answer.expect(200);
        assert_eq!(answer["session"]["id"], host.session.as_str(), "{answer}");
        assert_eq!(answer["seat"]["seat"], opened["seat"]["seat"]);
    }
}

#[tokio::test]
async fn a_disconnect_is_told_in_words_that_clients_understand() {
    let daemon = hub(Database::Sqlite).start().await;
    let (client, connected) = guest(&daemon).await;
    for words in [
        json!({ "code": 1000, "reason": "x" }),
        json!({ "code": 5000, "reason": "x" }),
        json!({ "code": 70_000, "reason": "x" }),
        json!({ "code": 4000, "reason": "x".repeat(124) }),
        json!({ "code": 4000, "reason": "{\"reconnect\":false}" }),
        json!({ "code": 4000 }),
        json!({ "reason": "x" }),
        json!(4000),
    ] {
        let body = json!({ "user": user(&connected), "disconnect": words });
        assert_eq!(error(&daemon, "disconnect", body).await.0, 107, "{words}");
    }
    assert_eq!(error(&daemon, "disconnect", json!({})).await.0, 107);
    assert!(client.is_open());
}

async fn a_game_server_subscribes_a_user_in_either_encoding(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut client = Client::dial_as(daemon.address(), encoding).await;
        let connected = client.connects("").await.unwrap();
        let channel = format!("lobby:{encoding:?}");
        for number in 1..=3 {
            let body = json!({ "channel": channel, "data": number });
            result(&daemon, "publish", body).await;
        }
        let position = result(&daemon, "history", json!({ "channel": channel })).await;
        let since = json!({ "offset": 1, "epoch": position["epoch"] });

        let body = json!({
            "user": user(&connected), "channel": channel, "info": { "role": "watcher" },
            "b64data": "eyJ4IjoxfQ==", "recover_since": since,
        });
        assert_eq!(result(&daemon, "subscribe", body.clone()).await, json!({}));

        let push = client.hears_push(&channel, "subscribe", |_| true).await;
        assert_eq!(push["data"], json!({ "x": 1 }));
        assert_eq!(push["epoch"], position["epoch"]);
        for number in 2..=3 {
            assert_eq!(client.hears(&channel).await["data"], number);
        }
        let presence = result(&daemon, "presence", json!({ "channel": channel })).await;
        let own = connected["client"].as_str().unwrap();
        assert_eq!(
            presence["presence"][own]["chan_info"],
            json!({ "role": "watcher" })
        );
        // It is so already.
        assert_eq!(result(&daemon, "subscribe", body).await, json!({}));

        // Whoever has no seat hears a room all the same if the game's server wants it.
        let body = json!({ "user": user(&connected), "channel": host.channel });
        result(&daemon, "subscribe", body).await;
        let body = json!({ "channel": host.channel, "data": "watch" });
        result(&daemon, "publish", body).await;
        assert_eq!(client.hears_a_player(&host.channel).await["data"], "watch");
    }
    for (body, code) in [
        (
            json!({ "user": "nobody", "channel": "undefined:channel" }),
            102,
        ),
        (json!({ "user": "nobody", "channel": "" }), 107),
        (json!({ "channel": "lobby:a" }), 107),
        (
            json!({ "user": "nobody", "channel": "lobby:a", "b64info": "?" }),
            107,
        ),
        (
            json!({ "user": "nobody", "channel": "lobby:a", "expire_at": 5 }),
            107,
        ),
    ] {
        for method in ["subscribe", "unsubscribe"] {
            if method == "subscribe"
                || body.get("b64info").is_none() && body.get("expire_at").is_none()
            {
                assert_eq!(
                    error(&daemon, method, body.clone()).await.0,
                    code,
                    "{method} {body}"
                );
            }
        }
    }
    let nobody = json!({ "user": "nobody", "channel": "lobby:a" });
    for method in ["subscribe", "unsubscribe", "disconnect"] {
        assert_eq!(result(&daemon, method, nobody.clone()).await, json!({}));
    }
}

async fn a_game_server_unsubscribes_a_user_from_a_room(database: Database) {
    let daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut player = host.sits_down(&daemon).await;
    let (mut one, connected) = guest(&daemon).await;
    let (mut two, _) = guest(&daemon).await;
    let is_one = |body: &Value| body["info"]["client"] == connected["client"];
    for client in [&mut one, &mut two] {
        client.subscribes("crowd:a").await.unwrap();
    }
    let own = json!({ "user": user(&connected), "channel": "crowd:b" });
    result(&daemon, "subscribe", own.clone()).await;
    one.hears_push("crowd:b", "subscribe", |_| true).await;

    let body = json!({ "user": user(&connected), "channel": "crowd:a" });
    assert_eq!(result(&daemon, "unsubscribe", body).await, json!({}));
    result(&daemon, "unsubscribe", own).await;
    let body = json!({ "user": host.user, "channel": host.channel });
    result(&daemon, "unsubscribe", body).await;

    for (client, channel) in [(&mut one, "crowd:a"), (&mut player, host.channel.as_str())] {
        let push = client.hears_push(channel, "unsubscribe", |_| true).await;
        assert_eq!(
            push,
            json!({ "code": 2000, "reason": "server unsubscribe" })
        );
    }
    one.hears_push("crowd:b", "unsubscribe", |_| true).await;
    two.hears_push("crowd:a", "leave", is_one).await;
    result(
        &daemon,
        "publish",
        json!({ "channel": "crowd:a", "data": 1 }),
    )
    .await;
    assert_eq!(two.hears("crowd:a").await["data"], 1);
    assert!(one.heard_on("crowd:a").is_empty());
    // It may come back, and its seat was never at stake.
    one.subscribes("crowd:a").await.unwrap();
    player.subscribes(&host.channel).await.unwrap();
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
}

#[tokio::test]
async fn a_connection_lasts_as_long_as_the_game_server_says() {
    let daemon = hub(Database::Sqlite)
        .set("client.expiry_grace", "1s")
        .start()
        .await;
    let (mut client, connected) = guest(&daemon).await;
    let (mut other, other_connected) = guest(&daemon).await;
    let from_now = |seconds: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs() + seconds
    };
    // Far enough to be still to come when a busy daemon reads it.
    for (connected, seconds) in [(&other_connected, 6), (&connected, 5)] {
        let body = json!({ "user": user(connected), "expire_at": from_now(seconds) });
        result(&daemon, "refresh", body).await;
    }
    let push = other.hears_push("", "refresh", |_| true).await;
    assert_eq!(push["expires"], true);
    assert!(push["ttl"].as_u64().is_some_and(|ttl| ttl <= 6), "{push}");
    let body = json!({ "user": user(&other_connected) });
    result(&daemon, "refresh", body).await;
    other
        .hears_push("", "refresh", |push| push["expires"] != true)
        .await;

    assert_eq!(client.closed().await.0, 3005);
    other.subscribes("lobby:a").await.unwrap();
    let past = json!({ "user": user(&other_connected), "expire_at": 5 });
    assert_eq!(error(&daemon, "refresh", past).await.0, 107);
}

#[tokio::test]
async fn what_others_see_of_a_connection_is_as_the_game_server_says() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, connected) = guest(&daemon).await;
    let (mut other, _) = guest(&daemon).await;
    for client in [&mut client, &mut other] {
        client.subscribes("lobby:a").await.unwrap();
    }
    let seen = async |client: &mut Client, other: &mut Client| {
        client.publishes("lobby:a", json!(1)).await.unwrap();
        other.hears("lobby:a").await["info"]["conn_info"].clone()
    };

    let before = seen(&mut client, &mut other).await;
    let info = json!({ "name": "Ana", "level": 2 });
    let body = json!({ "user": user(&connected), "info": info });
    assert_eq!(result(&daemon, "refresh", body).await, json!({}));
    let after = seen(&mut client, &mut other).await;
    // Without it nothing changes.
    let body = json!({ "user": user(&connected) });
    result(&daemon, "refresh", body).await;
    let still = seen(&mut client, &mut other).await;
    client.subscribes("lobby:b").await.unwrap();
    let presence = result(&daemon, "presence", json!({ "channel": "lobby:b" })).await;

    assert_eq!(before, json!({ "name": "Guest" }));
    assert_eq!((&after, &still), (&info, &info));
    let own = connected["client"].as_str().unwrap();
    assert_eq!(presence["presence"][own]["conn_info"], info);
    let wrong = json!({ "user": user(&connected), "b64info": "?" });
    assert_eq!(error(&daemon, "refresh", wrong).await.0, 107);
}

#[tokio::test]
async fn a_subscription_that_the_game_server_made_ends_when_it_said() {
    let daemon = hub(Database::Sqlite)
        .set("client.expiry_grace", "1s")
        .start()
        .await;
    let (mut client, connected) = guest(&daemon).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Far enough to be still to come when a busy daemon reads it.
    let end = now.unwrap().as_secs() + 5;

    let body = json!({ "user": user(&connected), "channel": "lobby:a", "expire_at": end });
    assert_eq!(result(&daemon, "subscribe", body).await, json!({}));

    let push = client.hears_push("lobby:a", "subscribe", |_| true).await;
    assert_eq!(push["positioned"], true, "{push}");
    // Its client cannot refresh it; its next connection is told what it is to hear.
    assert_eq!(
        client.closed().await,
        (3006, "subscription expired".to_owned())
    );
}

#[tokio::test]
async fn a_connection_whose_time_is_over_is_closed() {
    let daemon = hub(Database::Sqlite).start().await;
    let (mut client, connected) = guest(&daemon).await;

    let body = json!({ "user": user(&connected), "expired": true });
    assert_eq!(result(&daemon, "refresh", body).await, json!({}));

    assert_eq!(
        client.closed().await,
        (3005, "connection expired".to_owned())
    );
    let nobody = json!({ "user": "nobody", "expired": true });
    assert_eq!(result(&daemon, "refresh", nobody).await, json!({}));
    assert_eq!(error(&daemon, "refresh", json!({})).await.0, 107);
}

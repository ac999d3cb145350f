//! What happens to input that makes no sense: it gets its code, and nothing else happens.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Actors, Answer, Client, Daemon, Database, Player, Refusal, Request, eventually,
    on_both_databases,
};

on_both_databases!(
    a_bad_body_is_refused_on_every_route,
    a_bad_body_is_refused_by_every_call_of_the_server_api,
    a_request_for_what_does_not_exist_says_so,
    a_token_that_is_none_of_ours_is_refused_everywhere,
    a_bad_command_gets_its_error,
    a_frame_that_is_no_command_closes_the_socket,
    a_foreign_page_may_not_open_a_socket,
    too_many_channels_are_refused,
    channels_that_have_ended_make_room_for_others,
    too_many_commands_are_refused,
);

/// Routes that take a body.
const POSTS: [&str; 4] = [
    "/v1/sessions",
    "/v1/rooms",
    "/v1/rooms/{code}/join",
    "/v1/quick-match",
];

/// Calls of the game's own server.
const CALLS: [&str; 13] = [
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "rpc",
    "channels",
    "batch",
];

/// Counts the actors before and after what is done, which must be the same in the end. Nothing may panic.
async fn leaves_no_actor(daemon: &Daemon, deeds: impl Future<Output = ()>) {
    let before: Actors = daemon.actors().await;
    deeds.await;
    eventually("the actors are as before", async || {
        let after = daemon.actors().await;
        let is_as_before = after == before;
        is_as_before
            .then_some(())
            .ok_or(format!("{before:?} before, {after:?} after"))
    })
    .await;
    assert!(!daemon.log().contains("panicked"));
}

async fn a_bad_body_is_refused_on_every_route(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let host = Player::opens(&daemon).await;
    let hold = format!("/v1/rooms/{}/seats/0/hold", host.room);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep_field = format!("{{\"guest\":{{\"name\":\"A\"}},\"settings\":{deep}}}");
    let bodies: [&[u8]; 14] = [
        b"{",
        b"[]",
        b"7",
        b"\"text\"",
        b"{\"guest\":\"Ana\"}",
        b"{\"guest\":{\"name\":7}}",
        b"{\"guest\":{\"name\":\"\"}}",
        b"{\"guest\":{\"name\":\"a\\u0000b\"}}",
        b"{\"guest\":{\"name\":\"\xff\xfe\"}}",
        b"{\"guest\":{\"name\":\"A\"},\"guest\":[]}",
        b"{\"guest\":{\"name\":\"A\"}} trailing",
        b"\xff\xff\xff\xff",
        deep.as_bytes(),
        deep_field.as_bytes(),
    ];

    leaves_no_actor(&daemon, async {
        for path in POSTS {
            let path = path.replace("{code}", &host.room);
            for body in bodies {
                let answer = daemon.post(&path, Value::Null).bytes(body).send().await;
                let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
                assert_refused(&answer, (400, "BAD_REQUEST"), &format!("{path} {shown}"));
            }
            let long = json!({ "guest": { "name": "A" }, "padding": "x".repeat(70_000) });
            let answer = daemon.post(&path, long).send().await;
            assert_refused(&answer, (413, "BAD_REQUEST"), &path);
        }
        for seconds in [
            "-1",
            "1.5",
            "1e300",
            "18446744073709551616",
            "\"60\"",
            "[]",
            &deep,
        ] {
            let body = format!("{{\"seconds\":{seconds}}}");
            let request = daemon.post_as_game(&hold, Value::Null);
            let answer = request.bytes(body.as_bytes()).send().await;
            assert_refused(&answer, (400, "BAD_REQUEST"), &body[..body.len().min(60)]);
        }
    })
    .await;
}

async fn a_bad_body_is_refused_by_every_call_of_the_server_api(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let bodies: [&[u8]; 7] = [
        b"{",
        b"[]",
        b"7",
        b"null",
        b"{} trailing",
        b"\xff\xff\xff\xff",
        deep.as_bytes(),
    ];

    leaves_no_actor(&daemon, async {
        for call in CALLS {
            let path = format!("/api/{call}");
            for body in bodies {
                let answer = daemon.post_as_game(&path, Value::Null).bytes(body);
                let answer = answer.send().await;
                let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
                assert_refused(&answer, (400, "BAD_REQUEST"), &format!("{path} {shown}"));
            }
        }
        for call in ["publish", "presence", "history", "subscribe"] {
            let wrong = json!({ "channel": { "deep": 7 }, "user": [], "limit": -1 });
            let answer = daemon.post_as_game(&format!("/api/{call}"), wrong);
            let answer = answer.send().await.expect(200);
            assert_eq!(answer["error"]["code"], 107, "{call}: {answer}");
        }
    })
    .await;
}

#[track_caller]
fn assert_refused(answer: &Answer, expected: (u16, &str), what: &str) {
    assert_eq!(answer.refusal(), expected, "{what}: {answer:?}");
}

async fn a_request_for_what_does_not_exist_says_so(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let join = format!("/v1/rooms/{}/join", host.room);
    let wishes = [
        (
            "/v1/rooms",
            json!({ "kind": "no-such" }),
            (404, "UNKNOWN_KIND"),
        ),
        (
            "/v1/quick-match",
            json!({ "kind": "no-such" }),
            (404, "UNKNOWN_KIND"),
        ),
        ("/v1/rooms", json!({ "kind": 7 }), (400, "BAD_REQUEST")),
        ("/v1/rooms", json!({ "settings": [] }), (400, "BAD_REQUEST")),
        ("/v1/rooms", json!({ "seat": -1 }), (400, "BAD_REQUEST")),
        ("/v1/rooms", json!({ "seat": 1.5 }), (400, "BAD_REQUEST")),
        ("/v1/rooms", json!({ "seat": "0" }), (400, "BAD_REQUEST")),
        (
            "/v1/rooms",
            json!({ "team": "none" }),
            (404, "SEAT_NOT_FOUND"),
        ),
        (&join, json!({ "seat": 6 }), (404, "SEAT_NOT_FOUND")),
        (&join, json!({ "seat": u64::MAX }), (400, "BAD_REQUEST")),
        (&join, json!({ "spectate": "yes" }), (400, "BAD_REQUEST")),
        ("/v1/rooms/ZZZZZZ/join", json!({}), (404, "ROOM_NOT_FOUND")),
        ("/v1/rooms/%00%ff/join", json!({}), (404, "ROOM_NOT_FOUND")),
        (
            "/v1/rooms/toolongacode/join",
            json!({}),
            (404, "ROOM_NOT_FOUND"),
        ),
    ];

    leaves_no_actor(&daemon, async {
        for (path, mut body, expected) in wishes {
            body["guest"] = json!({ "name": "Ana" });
            let answer = daemon.post(path, body.clone()).send().await;
            assert_refused(&answer, expected, &format!("{path} {body}"));
        }
        let answer = daemon.get("/v1/rooms/ZZZZZZ").send().await;
        assert_refused(&answer, (404, "ROOM_NOT_FOUND"), "get");
        assert_eq!(daemon.get("/v1/nothing").send().await.status, 404);
        let answer = daemon.get("/v1/quick-match").send().await;
        assert_refused(&answer, (405, "METHOD_NOT_ALLOWED"), "get");
    })
    .await;
}

async fn a_token_that_is_none_of_ours_is_refused_everywhere(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let unknown = format!("hfs_{}", "A".repeat(43));
    let long = format!("hfs_{}", "A".repeat(5_000));

    leaves_no_actor(&daemon, async {
        for token in [
            unknown.as_str(),
            &long,
            "hfs_",
            "x",
            "a.b.c",
            "hfs_\u{2603}",
        ] {
            for request in [
                daemon.get("/v1/session"),
                daemon.delete("/v1/session"),
                daemon.post("/v1/rooms", json!({})),
                daemon.post("/v1/quick-match", json!({})),
            ] {
                let answer = request.by(token).send().await;
                assert_refused(&answer, (401, "TOKEN_INVALID"), token);
            }
            let mut client = Client::dial(daemon.address()).await;
            let refusal = client.connects(token).await.unwrap_err();
            assert!(
                matches!(refusal, Refusal::Closed { code: 3500, .. }),
                "{refusal:?}"
            );
        }
    })
    .await;
}

/// Commands of a seated player in its own room, and the code each gets.
fn bad_commands(host: &Player) -> Vec<(&'static str, Value, u64)> {
    let channel = &host.channel;
    let elsewhere = json!({ "channel": "table:ZZZZZZ" });
    let deep = nested(200);
    vec![
        ("publish", json!({ "channel": channel, "data": deep }), 107),
        (
            "publish",
            json!({ "channel": "table:ZZZZZZ", "data": 1 }),
            102,
        ),
        ("presence", elsewhere.clone(), 102),
        ("presence_stats", elsewhere.clone(), 102),
        ("history", elsewhere, 102),
        (
            "history",
            json!({ "channel": channel, "limit": 1, "reverse": true, "since": { "offset": 0, "epoch": "" } }),
            107,
        ),
    ]
}

/// The same with the methods of `rpc`.
fn bad_calls(host: &Player) -> Vec<(&'static str, Value, u64)> {
    let code = &host.room;
    let nowhere = || json!({ "room": "ZZZZZZ" });
    vec![
        ("no.such", json!({}), 104),
        ("", json!({}), 104),
        ("room.get", nowhere(), 1001),
        ("room.get", json!({ "room": "" }), 1001),
        ("room.get", json!({ "room": 7 }), 107),
        ("room.get", json!([]), 107),
        ("room.get", json!({}), 107),
        ("room.join", nowhere(), 1001),
        ("room.join", json!({ "room": [] }), 107),
        ("room.join", json!({ "room": code, "spectate": 1 }), 107),
        ("room.leave", nowhere(), 1001),
        ("room.leave", json!({ "room": -1 }), 107),
        ("room.open", json!({ "kind": "no-such" }), 1011),
        ("room.open", json!({ "kind": {} }), 107),
        ("room.open", json!({ "settings": "x" }), 107),
        ("room.open", json!({ "settings": nested(200) }), 107),
        ("room.open", json!({ "seat": 99 }), 1005),
        ("seat.claim", json!({ "room": code, "seat": -1 }), 107),
        ("seat.claim", json!({ "room": code, "seat": 1e300 }), 107),
        ("seat.claim", json!({ "room": code, "seat": 5 }), 1006),
        ("seat.release", nowhere(), 1001),
        ("seat.release", json!({}), 107),
        ("match.quick", json!({ "kind": "no-such" }), 1011),
        ("match.quick", json!({ "kind": [] }), 107),
        ("session.get", json!([]), 107),
        ("session.end", json!("now"), 107),
        ("session.end", json!({ "key": 7 }), 107),
    ]
}

/// So many arrays within each other.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(0), |inner, _| json!([inner]))
}

/// Subscriptions that this player cannot have, and the code each gets.
fn bad_subscribes(host: &Player) -> Vec<(&'static str, Value, u64)> {
    let channel = &host.channel;
    vec![
        ("subscribe", json!({ "channel": "table:ZZZZZZ" }), 102),
        (
            "subscribe",
            json!({ "channel": format!("duel:{}", host.room) }),
            102,
        ),
        ("subscribe", json!({ "channel": "table:" }), 102),
        ("subscribe", json!({ "channel": "no-such:K7QX2P" }), 102),
        ("subscribe", json!({ "channel": "plain" }), 102),
        ("subscribe", json!({ "channel": "x".repeat(300) }), 107),
        ("subscribe", json!({ "channel": channel }), 105),
        ("subscribe", json!({ "channel": "lobby:é" }), 107),
        (
            "subscribe",
            json!({ "channel": format!("lobby:{}", "x".repeat(250)) }),
            107,
        ),
        ("subscribe", json!({ "channel": "lobby:x", "tf": {} }), 107),
        ("subscribe", json!({ "channel": "lobby:x", "type": 1 }), 103),
        ("subscribe", json!({ "channel": "lobby:x", "type": 2 }), 103),
        ("subscribe", json!({ "channel": "lobby:x", "type": 3 }), 103),
        ("subscribe", json!({ "channel": "lobby:x", "type": 4 }), 108),
        ("subscribe", json!({ "channel": "$lobby:x" }), 103),
    ]
}

async fn a_bad_command_gets_its_error(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut client = host.sits_down(&daemon).await;

    leaves_no_actor(&daemon, async {
        let calls = bad_calls(&host).into_iter();
        let calls = calls
            .map(|(method, data, code)| ("rpc", json!({ "method": method, "data": data }), code));
        let commands = bad_commands(&host).into_iter().chain(bad_subscribes(&host));
        for (command, body, code) in commands.chain(calls) {
            let shown = format!("{command} {body}");
            let refusal = client.asks(command, body).await;
            let answered = refusal.as_ref().err().map(Refusal::code);
            assert_eq!(answered, Some(code), "{shown} was answered {refusal:?}");
        }
        let alive = client.publishes(&host.channel, json!("still here")).await;
        assert_eq!(alive, Ok(json!({})));
        // The longest name that there is, and what an offer of deltas looks like.
        let longest = format!("lobby:{}", "x".repeat(249));
        let body = json!({ "channel": longest, "delta": "fossil", "type": 0, "flag": 1 });
        client.asks("subscribe", body).await.unwrap();
        client.unsubscribes(&longest).await.unwrap();
    })
    .await;
}

async fn a_frame_that_is_no_command_closes_the_socket(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let before_connect = [
        r#"{"id":1,"subscribe":{"channel":"lobby:x"}}"#,
        r#"{"id":1,"rpc":{"method":"session.get"}}"#,
        r#"{"id":1,"connect":{"token":7}}"#,
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":{"subs":7}}"#,
        "",
        "{",
        "[]",
        "null",
        r#"{"connect":{}}"#,
        r#"{"id":0,"connect":{}}"#,
        r#"{"id":-1,"connect":{}}"#,
        r#"{"id":4294967296,"connect":{}}"#,
        r#"{"id":"1","connect":{}}"#,
        &deep,
    ];
    let connected = [
        r#"{"id":2,"connect":{}}"#.to_owned(),
        r#"{"id":2,"subscribe":{"channel":""}}"#.to_owned(),
        r#"{"id":2,"subscribe":{"channel":7}}"#.to_owned(),
        r#"{"id":2,"subscribe":{"channel":"x","offset":-1}}"#.to_owned(),
        r#"{"id":2,"unsubscribe":{"channel":7}}"#.to_owned(),
        r#"{"id":2,"publish":{"channel":[],"data":1}}"#.to_owned(),
        r#"{"id":2,"presence":{"channel":7}}"#.to_owned(),
        r#"{"id":2,"presence_stats":7}"#.to_owned(),
        r#"{"id":2,"history":{"channel":"x","limit":1e300}}"#.to_owned(),
        r#"{"id":2,"rpc":{"method":7}}"#.to_owned(),
        r#"{"id":2,"refresh":{"token":7}}"#.to_owned(),
        r#"{"id":2,"sub_refresh":{"channel":7,"token":"x"}}"#.to_owned(),
        r#"{"id":2,"send":7}"#.to_owned(),
        r#"{"id":2,"ping":7}"#.to_owned(),
        r#"{"id":2,"no-such":{}}"#.to_owned(),
        r#"{"id":2}"#.to_owned(),
        r#"{"id":2,"subscribe":{"channel":"lobby:x","delta":"xdelta"}}"#.to_owned(),
        r#"{"id":2,"refresh":{}}"#.to_owned(),
    ];
    let pings: String = (3..303)
        .map(|id| format!("{{\"id\":{id},\"ping\":{{}}}}\n"))
        .collect();
    let sends = [
        r#"{"send":{"data":1}}"#.to_owned(),
        r#"{"id":2,"send":{}}"#.to_owned(),
        // Beyond the rate as well, where other commands are answered with an error.
        format!("{pings}{{\"send\":{{}}}}"),
    ];

    leaves_no_actor(&daemon, async {
        for text in before_connect {
            let client = Client::dial(daemon.address()).await;
            assert_closed(client, Message::text(text), 3501).await;
        }
        for text in connected {
            let (client, _) = host.connects(&daemon).await;
            assert_closed(client, Message::text(text), 3501).await;
        }
        for text in sends {
            let (client, _) = host.connects(&daemon).await;
            assert_closed(client, Message::text(text), 3508).await;
        }
        let (client, _) = host.connects(&daemon).await;
        assert_closed(client, Message::binary(vec![0xff; 64]), 3501).await;
        let (client, _) = host.connects(&daemon).await;
        assert_closed(client, Message::text("x".repeat(70_000)), 1009).await;
    })
    .await;
}

async fn assert_closed(mut client: Client, message: Message, code: u16) {
    let shown: String = message.to_string().chars().take(80).collect();
    client.sends(message).await;
    let (told, reason) = client.closed_after(&shown).await;
    assert_eq!(told, code, "{reason}, after {shown}");
}

async fn a_foreign_page_may_not_open_a_socket(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let upgrade = |origin: &str| {
        Request::new(daemon.address(), "GET", "/connection/websocket")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", origin)
    };

    let foreign = upgrade("https://evil.example").send().await;
    let plain = daemon.get("/connection/websocket").send().await;
    let posted = daemon.post("/connection/websocket", json!({})).send().await;

    assert_refused(&foreign, (403, "PERMISSION_DENIED"), "a foreign page");
    assert_refused(&plain, (426, "BAD_REQUEST"), "no handshake");
    assert_eq!(plain.headers["upgrade"], "websocket");
    assert!(plain.headers["connection"].contains("Upgrade"), "{plain:?}");
    assert_eq!(plain.headers["sec-websocket-version"], "13");
    assert_eq!(posted.status, 405);
    assert!(posted.headers["allow"].contains("GET"), "{posted:?}");
}

async fn too_many_channels_are_refused(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.channels_max", "2")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (mut client, _) = host.connects(&daemon).await;

    for channel in ["lobby:a", "lobby:b"] {
        client.subscribes(channel).await.unwrap();
    }

    let refusal = client.subscribes("lobby:c").await.unwrap_err();
    assert_eq!(refusal.code(), 106);
    client.unsubscribes("lobby:a").await.unwrap();
    client.subscribes("lobby:c").await.unwrap();
}

/// Whoever plays on one connection all evening hears more rooms than it may at once.
async fn channels_that_have_ended_make_room_for_others(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.channels_max", "2")
        .start()
        .await;
    let mut client = Client::dial(daemon.address()).await;
    client.connects("").await.unwrap();

    for _ in 0..5 {
        let opened = client.calls("room.open", json!({})).await.unwrap();
        let channel = opened["room"]["channel"].as_str().unwrap();
        client.subscribes(channel).await.unwrap();
        let room = json!({ "room": opened["room"]["code"] });
        client.calls("room.leave", room).await.unwrap();
        let ended = client.hears_push(channel, "unsubscribe", |_| true).await;
        assert_eq!(ended["code"], 2000);
    }

    for channel in ["lobby:a", "lobby:b"] {
        client.subscribes(channel).await.unwrap();
    }
    let refusal = client.subscribes("lobby:c").await.unwrap_err();
    assert_eq!(refusal.code(), 106);
}

async fn too_many_commands_are_refused(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.messages_per_second", "5")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (mut client, _) = host.connects(&daemon).await;

    // Twice the rate may come in a burst, and no more.
    let commands = vec![("rpc", json!({ "method": "session.get" })); 30];
    let ids = client.says_in_one_frame(&commands).await;
    let first = client.reply(ids[0], "rpc").await;
    let last = client.reply(ids[29], "rpc").await;

    assert!(first.is_ok(), "{first:?}");
    assert_eq!(last.unwrap_err().code(), 111);
    assert!(client.is_open());
}

//! Input that is deep, large, doubled, out of range or plain noise, and names that mean mischief.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::raw::{LAST, TEXT, frame};
use super::{Honest, Raw, Vitals, start};
use crate::support::{Daemon, Database, Player};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_doubled_and_endless_commands_are_refused_and_cost_one_answer_at_most() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let publish = |data: &str| {
        let channel = &player.channel;
        format!(r#"{{"id":9,"publish":{{"channel":"{channel}","data":{data}}}}}"#)
    };
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let commands = [
        ("deep", publish(&deep), Some(107)),
        ("deep and open", publish(&"[".repeat(60_000)), None),
        ("doubled", r#"{"id":9,"id":9,"ping":{}}"#.to_owned(), None),
        (
            "two at once",
            r#"{"id":9,"ping":{},"ping":{}}"#.to_owned(),
            None,
        ),
        (
            "id too large",
            r#"{"id":4294967296,"ping":{}}"#.to_owned(),
            None,
        ),
        ("id below zero", r#"{"id":-1,"ping":{}}"#.to_owned(), None),
        ("id 1e309", r#"{"id":1e309,"ping":{}}"#.to_owned(), None),
        ("id NaN", r#"{"id":NaN,"ping":{}}"#.to_owned(), None),
    ];

    for (case, command, expected) in commands {
        let mut raw = Raw::connect(daemon.address(), &player.token).await;
        raw.commands(&command).await;
        match expected {
            Some(code) => {
                let (_, reply) = raw.hears().await.expect("a reply");
                let reply: Value = serde_json::from_slice(&reply).unwrap();
                assert_eq!(reply["error"]["code"], code, "{case}: {reply}");
            }
            None => assert_eq!(raw.close_code().await, Some(3501), "{case}"),
        }
    }

    before.come_back(&daemon).await;
    honest.have_lost_nothing("deep and doubled commands").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_no_stream_has_are_an_error_or_not_recovered_never_an_empty_success() {
    let daemon = start().await;
    let player = Player::opens(&daemon).await;

    for offset in ["-1", "1e309", "18446744073709551616", "\"1\"", "1.5"] {
        let mut raw = Raw::connect(daemon.address(), &player.token).await;
        let channel = &player.channel;
        raw.commands(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"{channel}","recover":true,"epoch":"x","offset":{offset}}}}}"#
        ))
        .await;
        assert_eq!(raw.close_code().await, Some(3501), "{offset}");
    }
    for offset in [1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX] {
        let (mut client, _) = player.connects(&daemon).await;
        let epoch = client.subscribes(&player.channel).await.unwrap()["epoch"].take();
        client.unsubscribes(&player.channel).await.unwrap();
        let epoch = epoch.as_str().unwrap().to_owned();
        let result = client.recovers(&player.channel, &epoch, offset).await;
        let is_recovered = result
            .as_ref()
            .is_ok_and(|result| result["recovered"] == true);
        assert!(!is_recovered, "{offset}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newlines_are_not_multiplied() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let mut raw = Raw::connect(daemon.address(), &player.token).await;
    raw.commands(&"\n".repeat(64 * 1024)).await;
    let mut said = 0;
    while let Some((_, payload)) = raw.hears().await {
        said += payload.len();
    }
    let body = "\n".repeat(8 * 1024 * 1024);
    let answer = daemon.post("/v1/rooms", Value::Null).bytes(body.as_bytes());
    let answer = answer.try_send().await;

    assert!(said < 1024, "{said} bytes for 64 KiB of newlines");
    assert!(answer.map_or(true, |answer| answer.status == 413
        && answer.text.len() < 1024));
    before.come_back(&daemon).await;
    honest.have_lost_nothing("newlines").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_mutated_frames_end_their_own_sockets_and_nothing_else() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let channel = &player.channel;
    let whole = format!(
        "{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\
         \"{channel}\",\"recover\":true,\"offset\":3,\"epoch\":\"x\"}}}}\n{{\"id\":3,\"publish\":\
         {{\"channel\":\"{channel}\",\"data\":[1,2]}}}}\n{{\"id\":4,\"rpc\":{{\"method\":\
         \"room.get\",\"data\":{{}}}}}}",
        player.token
    );

    join_all((0..20u64).map(|seed| mutate(&daemon, &whole, seed))).await;

    assert!(
        !daemon.log().contains("panicked"),
        "a frame made the daemon panic"
    );
    let actors = before.actors;
    assert_eq!(daemon.actors().await.rooms, actors.rooms);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("4,000 mutated frames").await;
}

/// Sends 200 frames with a few bytes changed each, on as many sockets as that takes.
async fn mutate(daemon: &Daemon, whole: &str, seed: u64) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let mut raw = Raw::dial(daemon.address()).await;
    for _ in 0..200 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..=next(3) {
            let place = next(bytes.len());
            match next(3) {
                0 => bytes[place] = u8::try_from(next(256)).unwrap(),
                1 if bytes.len() > 1 => _ = bytes.remove(place),
                _ => bytes.truncate(place.max(1)),
            }
        }
        let mut sent = frame(LAST | TEXT, &bytes);
        if next(4) == 0 {
            sent[0] = u8::try_from(next(256)).unwrap();
        }
        raw.says(&sent).await;
        if next(2) == 0 {
            raw = Raw::dial(daemon.address()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_with_newlines_and_escapes_never_break_a_line_of_the_log() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("log.level", "debug")
        .set("log.format", "json")
        .start()
        .await;
    let long = "x".repeat(10 * 1024);
    let names = [
        "a\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
        "\u{1b}[2J\u{1b}[31mred",
        "a\rb\0c",
        "\u{2028}line\u{2029}",
        "\u{202e}desrever",
        "\"},{\"",
        &long,
    ];

    for name in names {
        let guest = json!({ "guest": { "name": name } });
        daemon.post("/v1/rooms", guest).send().await;
        let strange = json!({ "kind": name, "guest": { "name": "Ana" } });
        daemon.post("/v1/rooms", strange).send().await;
        let mut raw = Raw::dial(daemon.address()).await;
        let connect = json!({ "id": 1, "connect": { "token": name, "data": { "name": name } } });
        raw.commands(&connect.to_string()).await;
        raw.commands(name).await;
        raw.close_code().await;
    }

    let log = daemon.log();
    assert!(log.lines().count() > names.len());
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(
            parsed["level"].is_string() && parsed["message"] != "forged",
            "{line}"
        );
        assert!(
            !line.contains('\u{1b}') && line.len() < 4 * 1024,
            "{line:?}"
        );
    }
}

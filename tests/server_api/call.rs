//! Who may call, what a call looks like, and how errors are told.

use serde_json::{Value, json};

use super::{calls, error, guest, hub, result};
use crate::support::{Daemon, Database, Player, on_both_databases};

on_both_databases!(calls_are_counted_by_method_and_by_what_became_of_them);

#[tokio::test]
async fn only_who_has_a_key_may_call() {
    let keys = "[\"one-key-of-32-random-characters-\", \"two-key-of-32-random-characters-\"]";
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.api_keys", keys)
        .start()
        .await;
    let call = || daemon.post("/api/info", json!({}));
    for (name, value) in [
        ("x-api-key", "one-key-of-32-random-characters-"),
        ("x-api-key", "two-key-of-32-random-characters-"),
        ("authorization", "apikey two-key-of-32-random-characters-"),
    ] {
        call().header(name, value).send().await.expect(200);
    }

    for (name, value) in [
        ("x-api-key", "one-key-of-32-random-characters"),
        ("x-api-key", ""),
        ("authorization", "Bearer one-key-of-32-random-characters-"),
        ("x-other", "one-key-of-32-random-characters-"),
    ] {
        let refused = call().header(name, value).send().await;
        assert_eq!(refused.refusal(), (401, "TOKEN_INVALID"), "{name}: {value}");
    }
    // It would stand in the log of each proxy on the way.
    let path = "/api/info?api_key=one-key-of-32-random-characters-";
    let refused = daemon.post(path, json!({})).send().await;
    assert_eq!(refused.refusal(), (401, "TOKEN_INVALID"));
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_a_bad_request() {
    let daemon = hub(Database::Sqlite).start().await;
    let publish = |body: &[u8]| daemon.post_as_game("/api/publish", json!(null)).bytes(body);
    for body in [&b"{"[..], b"[]", b"5", b"{} {}", b"\xff\xfe", b"null"] {
        let answer = publish(body).send().await;
        assert_eq!(answer.refusal(), (400, "BAD_REQUEST"), "{body:?}");
    }
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let answer = publish(&large).send().await;
    assert_eq!(answer.refusal(), (413, "BAD_REQUEST"));
    let answer = calls(&daemon, "publis", json!({})).await;
    assert_eq!(answer.refusal(), (404, "NOT_FOUND"));
    let answer = daemon.get("/api/publish").send().await;
    assert_eq!(answer.refusal(), (405, "METHOD_NOT_ALLOWED"));
    // Not even the method is looked at without a key.
    let answer = daemon.post("/api/publis", json!({})).send().await;
    assert_eq!(answer.refusal(), (401, "TOKEN_INVALID"));
    publish(b"").send().await.expect(200);
}

/// A method, what it is asked, the code of the error, and words of its message.
const WRONG: &str = r#"
publish   | {}                                                       | 107 | channel must be
publish   | {"channel":"","data":1}                                  | 107 | channel must be
publish   | {"channel":5,"data":1}                                   | 107 | channel must be text
publish   | {"channel":"undefined:a","data":1}                       | 102 | unknown channel
publish   | {"channel":"table:nope","data":1}                        | 102 | unknown channel
publish   | {"channel":"lobby:a","data":null}                        | 107 | data must be
publish   | {"channel":"lobby:a","b64data":"eHl6"}                   | 107 | b64data must be JSON
publish   | {"channel":"lobby:a","data":1,"tags":{"n":1}}            | 107 | tags must be
publish   | {"channel":"lobby:a","data":1,"tags":{"from":"hub"}}     | 107 | tags must be
publish   | {"channel":"lobby:a","data":1,"skip_history":"yes"}      | 107 | skip_history must be
publish   | {"channel":"lobby:a","data":1,"version":1}               | 108 | not available
broadcast | {"data":1}                                               | 107 | channels must be
broadcast | {"channels":"lobby:a","data":1}                          | 107 | channels must be
history   | {"channel":"lobby:a","limit":"all"}                      | 107 | limit must be
history   | {"channel":"lobby:a","since":5}                          | 107 | since must be
rpc       | {}                                                       | 107 | method must be
rpc       | {"method":"getSettings","params":{}}                     | 108 | not available
batch     | {"commands":{}}                                          | 107 | commands must be a list
subscribe | {"user":5,"channel":"lobby:a"}                           | 107 | user must be text
subscribe | {"user":"u","channel":"lobby:a","recover_since":5}       | 107 | recover_since must be
subscribe | {"user":"u","channel":"lobby:a","recover_since":{"offset":-1}} | 107 | offset must be
subscribe | {"user":"u","channel":"lobby:a","override":5}            | 107 | override must be
unsubscribe | {"channel":"lobby:a"}                                    | 107 | user must be
unsubscribe | {"user":"u"}                                             | 107 | channel must be
disconnect | {"user":"u","whitelist":"x"}                             | 107 | whitelist must be
disconnect | {"user":"u","disconnect":5}                              | 107 | disconnect must be
refresh   | {"user":"u","expired":"yes"}                             | 107 | expired must be
refresh   | {"user":"u","expire_at":"soon"}                          | 107 | expire_at must be
presence  | {}                                                       | 107 | channel must be
presence_stats | {}                                                       | 107 | channel must be
history   | {}                                                       | 107 | channel must be
history   | {"channel":"lobby:a","reverse":1}                        | 107 | reverse must be
history   | {"channel":"lobby:a","limit":1,"reverse":true,"since":{"offset":0}} | 107 | bad request
history_remove | {}                                                       | 107 | channel must be
channels  | {"pattern":5}                                            | 107 | pattern must be text
publish   | {"channel":"lobby:a","data":1,"idempotency_key":5}       | 107 | idempotency_key must be
broadcast | {"channels":["lobby:a"]}                                 | 107 | data must be
broadcast | {"channels":[1],"data":1}                                | 107 | channels must be
batch     | {"commands":[],"parallel":"yes"}                         | 107 | parallel must be
"#;

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said() {
    let daemon = hub(Database::Sqlite).start().await;
    for line in WRONG.trim().lines() {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [method, body, code, words] = cells[..] else {
            panic!("{line} has four cells");
        };
        let body = serde_json::from_str(body).unwrap();
        let (got, message) = error(&daemon, method, body).await;
        assert_eq!(got.to_string(), code, "{line}: {message}");
        assert!(message.contains(words), "{line}: {message}");
    }
    // What is known to nobody is ignored, and null is nothing.
    let body = json!({ "channel": "lobby:a", "data": 1, "delta": true, "version": 0, "tags": null, "more": [1] });
    result(&daemon, "publish", body).await;
}

#[tokio::test]
async fn what_is_too_much_in_a_call_is_said() {
    let daemon = hub(Database::Sqlite).start().await;
    let many: Value = (0..33).map(|n| (format!("t{n}"), json!(""))).collect();
    for (field, value, words) in [
        ("channel", json!("a".repeat(256)), "255"),
        ("data", json!("x".repeat(65_536)), "65536 bytes"),
        ("tags", many, "tags must be 32"),
        ("idempotency_key", json!("k".repeat(129)), "128 bytes"),
    ] {
        let mut body = json!({ "channel": "lobby:a", "data": 1 });
        body[field] = value;
        let (code, message) = error(&daemon, "publish", body).await;
        assert_eq!(code, 107, "{field}: {message}");
        assert!(message.contains(words), "{field}: {message}");
    }
    let body = json!({ "commands": vec![json!({}); 1_001] });
    assert_eq!(error(&daemon, "batch", body).await.0, 107);
    let body = json!({ "channels": vec!["lobby:a"; 1_001], "data": 1 });
    assert_eq!(error(&daemon, "broadcast", body).await.0, 107);
}

#[tokio::test]
async fn errors_become_statuses_where_the_caller_wants_that() {
    let daemon = hub(Database::Sqlite).start().await;
    let call = |method: &str, body: Value| {
        daemon
            .post_as_game(&format!("/api/{method}"), body)
            .header("x-centrifugo-error-mode", "transport")
    };
    let since = json!({ "offset": 1, "epoch": "other" });
    for (method, body, status, code) in [
        ("presence", json!({ "channel": "undefined:a" }), 404, 102),
        ("presence", json!({ "channel": "" }), 400, 107),
        ("presence", json!({ "channel": "plain:a" }), 400, 108),
        (
            "history",
            json!({ "channel": "lobby:a", "since": since }),
            416,
            112,
        ),
    ] {
        let body = call(method, body).send().await.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert!(body["message"].is_string(), "{body}");
    }
    let body = call("info", json!({})).send().await.expect(200);
    assert!(body["result"]["nodes"].is_array(), "{body}");
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_without_a_result_around_it() {
    let daemon = hub(Database::Sqlite).start().await;
    for parallel in [false, true] {
        let body = json!({ "parallel": parallel, "commands": [
            { "publish": { "channel": "lobby:a", "data": 1 } },
            { "publish": { "channel": "undefined:a", "data": 1 } },
            { "presence_stats": { "channel": "lobby:a" } },
            { "batch": { "commands": [] } },
            { "publis": {} },
            { "publish": {}, "history": {} },
            5,
            { "disconnect": { "user": "nobody" } },
            { "publish": [] },
        ] });
        let answer = calls(&daemon, "batch", body).await.expect(200);
        assert!(answer.get("result").is_none(), "{answer}");
        let replies = answer["replies"].as_array().unwrap();
        assert_eq!(replies.len(), 9, "{answer}");
        assert!(replies[0]["publish"]["offset"].is_u64(), "{answer}");
        assert_eq!(
            replies[2],
            json!({ "presence_stats": { "num_clients": 0, "num_users": 0 } })
        );
        assert_eq!(replies[7], json!({ "disconnect": {} }));
        for (number, code) in [(1, 102), (3, 104), (4, 104), (5, 107), (6, 107), (8, 107)] {
            assert_eq!(replies[number]["error"]["code"], code, "{number}: {answer}");
        }
    }
    let answer = calls(&daemon, "batch", json!({})).await.expect(200);
    assert_eq!(answer, json!({ "replies": [] }));
}

#[tokio::test]
async fn each_call_of_a_batch_waits_for_the_one_before_it() {
    let daemon = hub(Database::Sqlite)
        .set("faults.commit_delay", "200ms")
        .start()
        .await;
    let host = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let publish = json!({ "publish": { "channel": host.channel, "data": 1 } });
    let history = json!({ "history": { "channel": host.channel } });
    let commands = [&publish, &history, &publish, &history];

    let body = json!({ "commands": commands });
    let answer = calls(&daemon, "batch", body).await.expect(200);

    // Asked at the same time, a history would not have what is still being written.
    let replies = answer["replies"].as_array().unwrap();
    for pair in replies.chunks(2) {
        let place = &pair[0]["publish"]["offset"];
        assert!(place.is_u64(), "{answer}");
        assert_eq!(&pair[1]["history"]["offset"], place, "{answer}");
    }
}

#[tokio::test]
async fn each_answer_of_a_parallel_batch_is_that_of_its_own_call() {
    const CALLS: u64 = 40;
    let daemon = hub(Database::Sqlite).start().await;
    let publish = |data: u64| json!({ "publish": { "channel": "lobby:a", "data": data } });
    let commands: Vec<Value> = (0..CALLS).map(publish).collect();

    let body = json!({ "commands": commands, "parallel": true });
    let answer = calls(&daemon, "batch", body).await.expect(200);

    let all = json!({ "channel": "lobby:a", "limit": -1 });
    let all = result(&daemon, "history", all).await;
    let replies = answer["replies"].as_array().unwrap();
    assert_eq!(replies.len() as u64, CALLS);
    for (data, reply) in (0..CALLS).zip(replies) {
        let offset = reply["publish"]["offset"].as_u64().unwrap();
        let index = usize::try_from(offset - 1).unwrap();
        assert_eq!(all["publications"][index]["data"], data, "{offset}");
    }
}

async fn calls_are_counted_by_method_and_by_what_became_of_them(database: Database) {
    let daemon = hub(database).start().await;
    let (_client, _) = guest(&daemon).await;
    result(
        &daemon,
        "publish",
        json!({ "channel": "lobby:a", "data": 1 }),
    )
    .await;
    error(&daemon, "publish", json!({})).await;
    let commands = json!([{ "publish": { "channel": "lobby:a", "data": 1 } }]);
    calls(&daemon, "batch", json!({ "commands": commands })).await;

    let metrics = daemon.metrics().await;

    for (method, outcome, count) in [
        ("publish", "done", 2.0),
        ("publish", "refused", 1.0),
        ("publish", "failed", 0.0),
        ("batch", "done", 1.0),
        ("refresh", "done", 0.0),
    ] {
        let series =
            format!("holdfast_server_api_calls_total{{method=\"{method}\",outcome=\"{outcome}\"}}");
        assert_eq!(metrics.value(&series), count, "{series}");
    }
    assert_eq!(
        metrics.value("holdfast_directory_entries{kind=\"online\"}"),
        1.0
    );
}

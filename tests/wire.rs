//! What a raw client may rely on, frame by frame.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Daemon, Database, Player, Proxy, on_both_databases};

on_both_databases!(
    commands_in_one_frame_are_carried_out_in_order,
    no_push_overtakes_the_reply_to_its_subscribe,
    publications_are_numbered_without_a_gap_and_say_who_made_them,
    whoever_unsubscribes_hears_no_more,
    presence_lists_who_is_there,
    a_guest_may_connect_without_a_token,
    a_durable_change_is_answered_before_the_next_command_is_read,
);

on_both_databases!(
    what_was_missed_is_recovered_in_order,
    what_cannot_be_recovered_whole_is_said_to_be_lost,
    history_is_read_in_pages,
);

on_both_databases!(
    a_socket_that_never_connects_is_closed,
    a_client_that_answers_no_ping_is_closed_and_keeps_its_seat,
    a_silent_line_turns_the_seat_away,
    a_slow_reader_is_closed_and_keeps_its_seat,
);

async fn commands_in_one_frame_are_carried_out_in_order(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut client = Client::dial(daemon.address()).await;

    let channel = &host.channel;
    let commands = [
        ("connect", json!({ "token": host.token })),
        ("subscribe", json!({ "channel": channel, "flag": 1 })),
        ("publish", json!({ "channel": channel, "data": "first" })),
        ("publish", json!({ "channel": channel, "data": "second" })),
        ("unsubscribe", json!({ "channel": channel })),
    ];
    let ids = client.says_in_one_frame(&commands).await;
    client.reply(ids[4], "unsubscribe").await.unwrap();

    let order: Vec<String> = client.heard_in_order().iter().filter_map(name).collect();
    let expected = [
        "reply 1", "reply 2", "first", "reply 3", "second", "reply 4", "reply 5",
    ];
    assert_eq!(order, expected);
}

/// What a frame is, in short; nothing for the hub's own news.
fn name(frame: &Value) -> Option<String> {
    match frame["id"].as_u64() {
        Some(id) => Some(format!("reply {id}")),
        None => Some(frame["push"]["pub"]["data"].as_str()?.to_owned()),
    }
}

async fn no_push_overtakes_the_reply_to_its_subscribe(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut speaker = host.sits_down(&daemon).await;
    let (mut client, _) = guest.connects(&daemon).await;

    let channel = host.channel.clone();
    let speaking = async {
        for number in 0..50 {
            speaker.publishes(&channel, json!(number)).await.unwrap();
        }
    };
    let (result, ()) = tokio::join!(client.subscribes(&host.channel), speaking);
    let top = result.unwrap()["offset"].as_u64().unwrap_or(0);
    speaker
        .publishes(&host.channel, json!("last"))
        .await
        .unwrap();

    let mut expected = top;
    loop {
        let publication = client.hears(&host.channel).await;
        expected += 1;
        assert_eq!(publication["offset"], expected);
        if publication["data"] == "last" {
            break;
        }
    }
    let order = client.heard_in_order();
    let reply = order.iter().position(|frame| frame["id"] == 2).unwrap();
    let push = order
        .iter()
        .position(|frame| frame["push"]["channel"] == host.channel);
    assert!(push.is_some_and(|push| push > reply), "{order:?}");
}

async fn publications_are_numbered_without_a_gap_and_say_who_made_them(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, connected) = host.connects(&daemon).await;
    let start = client.subscribes(&host.channel).await.unwrap();
    let top = start["offset"].as_u64().unwrap_or(0);

    for number in 1..=3 {
        let data = json!({ "number": number, "text": "line\nbreak", "deep": [[{}]] });
        let answer = client.publishes(&host.channel, data.clone()).await;
        let heard = client.hears(&host.channel).await;

        assert_eq!(answer, Ok(json!({})));
        assert_eq!(heard["data"], data);
        assert_eq!(heard["offset"], top + number);
        assert_eq!(heard["info"]["user"], host.user);
        assert_eq!(heard["info"]["conn_info"], json!({ "name": "Ana" }));
        assert_eq!(heard["info"]["chan_info"]["seat"], 0);
    }
    assert_eq!(start["recoverable"], true);
    assert_eq!(start["positioned"], true);
    assert_eq!(connected["user"]["id"], host.user);
}

async fn whoever_unsubscribes_hears_no_more(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut speaker = host.sits_down(&daemon).await;
    let mut client = guest.sits_down(&daemon).await;

    let first = client.unsubscribes(&host.channel).await;
    let second = client.unsubscribes(&host.channel).await;
    speaker
        .publishes(&host.channel, json!("secret"))
        .await
        .unwrap();
    client.calls("session.get", json!({})).await.unwrap();

    assert_eq!((first, second), (Ok(json!({})), Ok(json!({}))));
    let heard = client.heard_on(&host.channel);
    assert!(
        heard
            .iter()
            .all(|publication| publication["data"] != "secret")
    );
}

async fn presence_lists_who_is_there(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let (mut one, _) = host.connects(&daemon).await;
    one.subscribes(&host.channel).await.unwrap();
    let two = guest.sits_down(&daemon).await;
    let channel = json!({ "channel": host.channel });

    let both = one.asks("presence", channel.clone()).await.unwrap();
    let stats = one.asks("presence_stats", channel.clone()).await.unwrap();
    two.drops_the_line();
    one.hears_news(&host.channel, "seat.away").await;
    let alone = one.asks("presence", channel).await.unwrap();

    assert_eq!(both["presence"].as_object().unwrap().len(), 2, "{both}");
    assert_eq!(stats, json!({ "num_clients": 2, "num_users": 2 }));
    let alone = alone["presence"].as_object().unwrap();
    let (client, info) = alone.iter().next().unwrap();
    assert_eq!(alone.len(), 1);
    assert_eq!(info["client"], client.as_str());
    assert_eq!(info["user"], host.user);
}

async fn a_guest_may_connect_without_a_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let mut client = Client::dial(daemon.address()).await;

    let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let result = client.asks("connect", json!({})).await.unwrap();
    let token = result["data"]["session"]["token"].as_str().unwrap();
    let opened = client.calls("room.open", json!({})).await.unwrap();
    client.drops_the_line();
    let (_client, again) = Client::connect(daemon.address(), token).await;

    assert!(
        result["version"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    assert_eq!(result["ping"], 25);
    assert_eq!(result["pong"], true);
    // Milliseconds, and not seconds or anything else.
    let ahead = u128::from(result["time"].as_u64().unwrap()).abs_diff(asked.as_millis());
    assert!(ahead < 3_600_000, "{result}");
    assert_eq!(opened["seat"]["status"], "held");
    let data = &again["data"];
    assert_eq!(data["session"]["id"], result["data"]["session"]["id"]);
    assert_eq!(data["session"].get("token"), None);
    assert_eq!(data["seats"][0]["room"], opened["room"]["code"]);
    assert_ne!(again["client"], result["client"]);
}

async fn a_durable_change_is_answered_before_the_next_command_is_read(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let body = json!({ "guest": { "name": "Bo" } });
    let session = daemon.post("/v1/sessions", body).send().await.expect(201);
    let token = session["session"]["token"].as_str().unwrap();
    let (mut client, _) = Client::connect(daemon.address(), token).await;

    let join = json!({ "method": "room.join", "data": { "room": host.room } });
    let commands = [
        ("rpc", join),
        ("subscribe", json!({ "channel": host.channel })),
        (
            "publish",
            json!({ "channel": host.channel, "data": "hello" }),
        ),
    ];
    let ids = client.says_in_one_frame(&commands).await;

    for (id, (command, _)) in ids.into_iter().zip(&commands) {
        client.reply(id, command).await.unwrap();
    }
    assert_eq!(client.hears_a_player(&host.channel).await["data"], "hello");
}

/// A player who says numbers, from 0 on and so many, and where the stream of the room stood before.
async fn says_numbers(daemon: &Daemon, player: &Player, count: u64) -> (Client, String, u64) {
    let (mut client, _) = player.connects(daemon).await;
    let start = client.subscribes(&player.channel).await.unwrap();
    let epoch = start["epoch"].as_str().unwrap().to_owned();
    for number in 0..count {
        let said = client.publishes(&player.channel, json!(number)).await;
        said.unwrap();
    }
    (client, epoch, start["offset"].as_u64().unwrap_or(0))
}

async fn what_was_missed_is_recovered_in_order(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, epoch, offset) = says_numbers(&daemon, &host, 5).await;

    client.unsubscribes(&host.channel).await.unwrap();
    let some = client
        .recovers(&host.channel, &epoch, offset + 2)
        .await
        .unwrap();
    client.unsubscribes(&host.channel).await.unwrap();
    let none = client
        .recovers(&host.channel, &epoch, offset + 5)
        .await
        .unwrap();

    assert_eq!(some["was_recovering"], true);
    assert_eq!(some["recovered"], true);
    assert_eq!(some["offset"], offset + 2);
    let missed = some["publications"].as_array().unwrap();
    let offsets: Vec<u64> = missed.iter().filter_map(|p| p["offset"].as_u64()).collect();
    assert_eq!(offsets, [offset + 3, offset + 4, offset + 5]);
    assert_eq!(missed[0]["data"], 2);
    assert_eq!(none["recovered"], true);
    assert_eq!(none.get("publications"), None);
}

async fn what_cannot_be_recovered_whole_is_said_to_be_lost(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.recovery_max", "6")
        .set("kind.table.history_size", "8")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (mut client, epoch, offset) = says_numbers(&daemon, &host, 10).await;
    let top = offset + 10;

    for (epoch, from) in [
        (epoch.as_str(), offset),
        (&epoch, top - 7),
        (&epoch, top + 1),
        ("another", top - 1),
    ] {
        client.unsubscribes(&host.channel).await.unwrap();
        let result = client.recovers(&host.channel, epoch, from).await.unwrap();
        assert_eq!(result["was_recovering"], true, "from {from} of {epoch}");
        assert_eq!(result.get("recovered"), None, "from {from} of {epoch}");
        assert_eq!(result.get("publications"), None, "from {from} of {epoch}");
        assert_eq!(result["offset"], top);
        // Whoever cannot do without it is told instead of subscribed.
        client.unsubscribes(&host.channel).await.unwrap();
        let body = json!({
            "channel": host.channel, "recover": true, "epoch": epoch, "offset": from, "flag": 2,
        });
        let refused = client.asks("subscribe", body).await.unwrap_err();
        assert_eq!(refused.code(), 112, "from {from} of {epoch}");
    }
}

/// What is asked of a history of which the first word is at `first`, and the words that come.
fn pages(channel: &str, epoch: &str, first: u64) -> Vec<(Value, Vec<u64>)> {
    let since = |after: u64, epoch: &str| json!({ "offset": first - 1 + after, "epoch": epoch });
    let all = [
        (json!({}), vec![]),
        (json!({ "limit": 2, "since": since(0, epoch) }), vec![0, 1]),
        (json!({ "limit": -1, "since": since(2, epoch) }), vec![2, 3]),
        (json!({ "limit": 2, "reverse": true }), vec![3, 2]),
        (
            json!({ "limit": 2, "reverse": true, "since": since(4, epoch) }),
            vec![2, 1],
        ),
        (
            json!({ "limit": 1_000_000, "since": since(0, "") }),
            vec![0, 1, 2, 3],
        ),
        (
            json!({ "limit": i32::MIN, "since": since(1, epoch) }),
            vec![1, 2, 3],
        ),
        (json!({ "limit": -1, "since": since(4, epoch) }), vec![]),
        (json!({ "limit": -1, "since": since(99, epoch) }), vec![]),
        (json!({ "since": since(0, epoch), "reverse": true }), vec![]),
    ];
    let with_channel = all.map(|(mut request, words)| {
        request["channel"] = json!(channel);
        (request, words)
    });
    with_channel.to_vec()
}

async fn history_is_read_in_pages(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, epoch, offset) = says_numbers(&daemon, &host, 4).await;

    for (request, expected) in pages(&host.channel, &epoch, offset + 1) {
        let page = client.asks("history", request.clone()).await.unwrap();
        let publications = page["publications"].as_array().unwrap();
        let data: Vec<u64> = publications
            .iter()
            .filter_map(|p| p["data"].as_u64())
            .collect();
        assert_eq!(data, expected, "{request} answered {page}");
        assert_eq!(page["offset"], offset + 4);
        assert_eq!(page["epoch"], epoch);
    }
    for (since, is_reverse, code) in [
        (json!({ "offset": 1, "epoch": "another" }), false, 112),
        (json!({ "offset": 0, "epoch": epoch }), true, 107),
    ] {
        let request = json!({
            "channel": host.channel, "limit": 1, "since": since, "reverse": is_reverse,
        });
        let refused = client.asks("history", request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request}");
    }
}

async fn a_socket_that_never_connects_is_closed(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.connect_timeout", "1s")
        .start()
        .await;

    let mut client = Client::dial(daemon.address()).await;

    assert_eq!(client.closed().await.0, 3502);
}

async fn a_client_that_answers_no_ping_is_closed_and_keeps_its_seat(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.ping", "2s")
        .set("client.pong_timeout", "1s")
        // The time to connect is over with the connect: it delays no ping.
        .set("client.connect_timeout", "60s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let mut client = host.sits_down(&daemon).await;

    client.stops_answering_pings();

    assert_eq!(client.closed().await.0, 3012);
    let (_client, data) = host.connects(&daemon).await;
    assert_eq!(data["seats"][0]["seat"], 0);
}

async fn a_silent_line_turns_the_seat_away(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.ping", "2s")
        .set("client.pong_timeout", "1s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;
    let line = Proxy::to(daemon.address()).await;
    let (mut client, _) = Client::connect(line.address(), &guest.token).await;
    client.subscribes(&guest.channel).await.unwrap();

    line.goes_silent();
    let away = watching.hears_news(&host.channel, "seat.away").await;
    line.comes_up();
    let (_client, data) = guest.connects(&daemon).await;

    assert_eq!(away["user"]["id"], guest.user);
    assert_eq!(data["seats"][0]["status"], "held");
}

async fn a_slow_reader_is_closed_and_keeps_its_seat(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.bytes_per_second", "1GiB")
        .set("kind.table.message_max", "64KiB")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let slow = guest.sits_down(&daemon).await;
    let mut speaker = host.sits_down(&daemon).await;
    let page = "x".repeat(60_000);

    slow.stops_reading();
    // Beyond what the queue and both ends' socket buffers hold.
    for _ in 0..190 {
        speaker.publishes(&host.channel, json!(page)).await.unwrap();
    }
    let away = speaker.hears_news(&host.channel, "seat.away").await;

    assert_eq!(away["user"]["id"], guest.user);
    let (mut client, data) = guest.connects(&daemon).await;
    assert_eq!(data["seats"][0]["seat"], guest.seat.unwrap());
    let binary = json!({ "id": 9, "subscribe": { "channel": guest.channel } });
    client
        .sends(Message::binary(binary.to_string().into_bytes()))
        .await;
    client.reply(9, "subscribe").await.unwrap();
}

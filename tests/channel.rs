//! Open channels: who may enter them, who hears of whom, and those that the hub enters for a client.

use holdfast::wire::Encoding;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{
    Client, Daemon, Database, Issuer, Player, Refusal, in_seconds, on_both_databases,
};

on_both_databases!(
    members_hear_who_comes_and_goes,
    who_cannot_be_told_any_more_has_left,
    a_crowd_hears_all_that_is_said_in_order,
    a_client_hears_its_own_channel_without_asking,
    a_channel_for_some_users_is_closed_to_others,
    a_channel_of_no_kind_is_unknown,
    what_the_hub_subscribes_to_is_recovered_with_the_connect_reply,
    who_is_replaced_or_fails_has_left_once,
    a_kind_says_who_may_listen_speak_and_look,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_is_for_members_alone_whatever_its_kind_says() {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .set("kind.news.seats", "0")
        .set("kind.news.publish", "anyone")
        .set("kind.news.read", "anyone")
        .start()
        .await;
    let game = Issuer::secret(Algorithm::HS256, SECRET);
    let (mut ana, _) = Client::connect(daemon.address(), &game.lets_in("ana")).await;
    let (mut ben, _) = guest(&daemon, Encoding::Json).await;
    let tries = |channel: &str| {
        [
            ("publish", json!({ "channel": channel, "data": 1 })),
            ("presence", json!({ "channel": channel })),
            ("presence_stats", json!({ "channel": channel })),
            ("history", json!({ "channel": channel, "limit": 10 })),
        ]
    };

    for (private, open) in [("$news:vip", "news:all"), ("$news:vip#ana,ben", "news:b")] {
        let token = json!({ "sub": "ana", "channel": private, "exp": in_seconds(3600) });
        let body = json!({ "channel": private, "token": game.signs(token) });
        ana.asks("subscribe", body).await.unwrap();
        for (command, body) in tries(private) {
            ana.asks(command, body.clone()).await.unwrap();
            let refused = ben.asks(command, body.clone()).await.unwrap_err();
            assert_eq!(refused.code(), 103, "{command} {body}");
        }
        for (command, body) in tries(open) {
            ben.asks(command, body).await.unwrap();
        }
        assert_eq!(ana.heard_on(private).len(), 1);
        // Who is a member no longer is one of the others.
        ana.unsubscribes(private).await.unwrap();
        for (command, body) in tries(private) {
            let refused = ana.asks(command, body.clone()).await.unwrap_err();
            assert_eq!(refused.code(), 103, "{command} {body}");
        }
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

async fn what_the_hub_subscribes_to_is_recovered_with_the_connect_reply(database: Database) {
    let daemon = Daemon::on(database)
        .with_api_key()
        .set("kind.default.seats", "0")
        .set("auth.personal_channel", "true")
        .start()
        .await;
    for encoding in ENCODINGS {
        let player = Player::opens(&daemon).await;
        let own = format!("#{}", player.user);
        let say = async |data: u64| {
            let body = json!({ "channel": own, "data": data });
            let answer = daemon.post_as_game("/api/publish", body).send().await;
            assert_eq!(answer.expect(200)["result"]["offset"], data);
        };
        let returns = async |epoch: &Value, offset: u64| {
            let mut client = Client::dial_as(daemon.address(), encoding).await;
            let position = json!({ "recover": true, "epoch": epoch, "offset": offset });
            // What the hub does not subscribe to by itself is not asked for here.
            let subs = json!({ &own: position, "lobby:x": position });
            let body = json!({ "token": player.token, "subs": subs });
            let connected = client.asks("connect", body).await.unwrap();
            assert_eq!(connected["subs"].as_object().unwrap().len(), 1);
            (client, connected["subs"][&own].clone())
        };
        let mut client = Client::dial_as(daemon.address(), encoding).await;
        let connected = client.connects(&player.token).await.unwrap();
        let epoch = connected["subs"][&own]["epoch"].clone();
        // A channel in which the game has spoken lives on without listeners.
        say(1).await;
        client.hears(&own).await;
        client.drops_the_line();
        say(2).await;
        say(3).await;

        let (mut client, recovered) = returns(&epoch, 1).await;

        assert_eq!(recovered["recovered"], true, "{recovered}");
        assert_eq!(recovered["was_recovering"], true, "{recovered}");
        assert_eq!(recovered["offset"], 1, "{recovered}");
        let missed = recovered["publications"].as_array().unwrap();
        let missed: Vec<_> = missed
            .iter()
            .map(|one| (&one["offset"], &one["data"]))
            .collect();
        assert_eq!(missed, [(&json!(2), &json!(2)), (&json!(3), &json!(3))]);
        say(4).await;
        assert_eq!(client.hears(&own).await["offset"], 4);
        for (epoch, offset) in [(json!("other"), 1), (epoch, 9)] {
            let (_client, lost) = returns(&epoch, offset).await;
            assert_eq!(lost["was_recovering"], true, "{lost}");
            assert_eq!(lost.get("recovered"), None, "{lost}");
            assert_eq!(lost.get("publications"), None, "{lost}");
            assert_eq!(lost["offset"], 4, "{lost}");
        }
    }
}

async fn who_is_replaced_or_fails_has_left_once(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.join_leave", "true")
        .start()
        .await;
    let ana = Player::opens(&daemon).await;
    let ben = Player::joins(&daemon, &ana.room).await;
    let mut watch = ana.sits_down(&daemon).await;
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (mut client, connected) = Client::connect(daemon.address(), &ben.token).await;
        client.subscribes(&ben.channel).await.unwrap();
        ids.push(id(&connected).to_owned());
        clients.push(client);
    }
    let has_id = |id: &str| {
        let id = id.to_owned();
        move |body: &Value| body["info"]["client"] == id
    };
    watch
        .hears_push(&ana.channel, "join", has_id(&ids[2]))
        .await;
    let presence = json!({ "channel": ana.channel });
    let present = watch.asks("presence", presence).await.unwrap();
    assert_eq!(present["presence"].as_object().unwrap().len(), 2);

    let part = json!({ "in": "connection", "connection": ids[2] });
    daemon.has_a_panic_in(&part).await;

    watch
        .hears_push(&ana.channel, "leave", has_id(&ids[2]))
        .await;
    let frames = watch.heard_in_order();
    let pushes = frames.iter().map(|frame| &frame["push"]);
    let told: Vec<_> = pushes
        .flat_map(|push| ["join", "leave"].map(|sort| (sort, &push[sort]["info"]["client"])))
        .filter_map(|(sort, client)| Some((sort, client.as_str()?)))
        .filter(|(_, client)| ids.iter().any(|id| id == client))
        .collect();
    let expected = [
        ("join", &*ids[0]),
        ("leave", &*ids[0]),
        ("join", &*ids[1]),
        ("leave", &*ids[1]),
        ("join", &*ids[2]),
        ("leave", &*ids[2]),
    ];
    assert_eq!(told, expected);
}

/// A command, the channel, and the code that it gets from whoever does not listen and from whoever does; 0 for none.
const ALLOWED: &str = "
publish        | lobby:a  | 103 | 0
history        | lobby:a  | 103 | 0
presence       | lobby:a  | 103 | 0
presence_stats | lobby:a  | 103 | 0
publish        | wall:a   | 0   | 0
publish        | stage:a  | 103 | 103
history        | stage:a  | 0   | 0
presence       | stage:a  | 0   | 0
presence_stats | stage:a  | 0   | 0
history        | vault:a  | 103 | 103
presence       | vault:a  | 103 | 103
presence_stats | vault:a  | 103 | 103
history        | bare:a   | 108 | 108
presence       | bare:a   | 108 | 108
presence_stats | bare:a   | 108 | 108
publish        | bare:a   | 103 | 0
";

async fn a_kind_says_who_may_listen_speak_and_look(database: Database) {
    let mut plan = Daemon::on(database);
    for (key, value) in [
        ("wall.publish", "anyone"),
        ("stage.publish", "server"),
        ("stage.read", "anyone"),
        ("vault.read", "server"),
        ("bare.history_size", "0"),
        ("bare.presence", "false"),
        ("closed.subscribe", "server"),
        ("table.spectators", "1"),
        ("arena.seats", "2"),
        ("arena.spectators", "1"),
        ("arena.publish", "members"),
        ("arena.read", "seated"),
    ] {
        plan = plan.set(&format!("kind.{key}"), value);
    }
    let daemon = plan.start().await;
    let (mut client, _) = guest(&daemon, Encoding::Json).await;
    for line in ALLOWED.trim().lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [command, channel, outside, inside] = cells[..] else {
            panic!("{line} has four cells");
        };
        let body = json!({ "channel": channel, "data": 1 });
        let as_stranger = code(client.asks(command, body.clone()).await);
        client.subscribes(channel).await.unwrap();
        let as_member = code(client.asks(command, body).await);
        client.unsubscribes(channel).await.unwrap();
        let expected = (outside.parse().unwrap(), inside.parse().unwrap());
        assert_eq!((as_stranger, as_member), expected, "{line}");
    }
    assert_eq!(code(client.subscribes("closed:a").await), 103);
    // Without a history there is nothing to recover, nor to tell of it.
    assert_eq!(client.recovers("bare:a", "e", 1).await, Ok(json!({})));

    for (kind, spoken, looked) in [("table", 103, 0), ("arena", 0, 103)] {
        let host = Player::opens_with(&daemon, json!({ "kind": kind })).await;
        let (mut late, _) = guest(&daemon, Encoding::Json).await;
        client.subscribes(&host.channel).await.unwrap();
        assert_eq!(code(late.subscribes(&host.channel).await), 103, "{kind}");
        let body = json!({ "channel": host.channel, "data": 1 });
        assert_eq!(code(client.asks("publish", body.clone()).await), spoken);
        assert_eq!(code(client.asks("history", body).await), looked, "{kind}");
    }
}

/// The code of what was refused, or 0.
fn code(answer: Result<Value, Refusal>) -> u64 {
    answer.err().map_or(0, |refusal| refusal.code())
}

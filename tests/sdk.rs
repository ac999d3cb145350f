//! The stock SDKs, as games use them: they know nothing of Holdfast and lose nothing with it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_centrifuge::client::Client as Centrifuge;
use tokio_centrifuge::config::Config;

use crate::support::{
    Client, Daemon, Database, ErrorOutput, PATIENCE, Player, on_both_databases, output, program,
};

on_both_databases!(
    javascript_players_come_back_into_their_seats_after_a_crash,
    python_players_come_back_into_their_seats_after_a_crash,
    javascript_and_python_players_play_in_one_room,
    stock_players_who_are_told_to_wait_come_back_into_their_seats,
    rust_players_come_back_into_their_seats_after_a_crash,
    the_python_sdk_passes_its_own_tests,
);

/// Lines a player may be ahead of the test; a player that is further ahead waits.
const LINES_AHEAD_MAX: usize = 1024;

/// A child process that plays with a stock SDK.
pub(crate) struct SdkPlayer {
    child: Child,
    orders: ChildStdin,
    told: mpsc::Receiver<Value>,
    /// Everything it told so far, for a failing test.
    log: Vec<Value>,
    _errors: ErrorOutput,
}

#[derive(Debug, Clone, Copy)]
enum Sdk {
    Javascript,
    Python,
}

type Stock = (Sdk, Encoding);

impl SdkPlayer {
    fn start((sdk, encoding): Stock, daemon: &Daemon, player: &Player) -> SdkPlayer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (name, script) = match sdk {
            Sdk::Javascript => ("node".into(), "player.mjs"),
            Sdk::Python => (root.join(".cache/python/bin/python"), "player.py"),
        };
        let url = format!("ws://{}/connection/websocket", daemon.address());
        let mut command = program(name);
        command
            .arg(root.join("tests/sdk").join(script))
            .arg(root.join(".cache/node"))
            .args([&url, &player.token, &player.channel])
            .arg(match encoding {
                Encoding::Json => "json",
                Encoding::Protobuf => "protobuf",
            });
        SdkPlayer::run(&mut command)
    }

    /// Starts a script that plays.
    pub(crate) fn run(command: &mut Command) -> SdkPlayer {
        let errors = ErrorOutput::of(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; start the tests with tests/run"));
        let output = child.stdout.take().expect("its output is piped");
        let orders = child.stdin.take().expect("its input is piped");
        let (telling, told) = mpsc::channel(LINES_AHEAD_MAX);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let told = serde_json::from_str(&line).unwrap_or(json!({ "text": line }));
                if telling.blocking_send(told).is_err() {
                    return;
                }
            }
        });
        SdkPlayer {
            child,
            orders,
            told,
            log: Vec::new(),
            _errors: errors,
        }
    }

    fn publishes(&mut self, data: &Value) {
        self.is_told(&json!({ "publish": data }));
    }

    pub(crate) fn is_told(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// The next event of this name, past all others.
    pub(crate) async fn tells(&mut self, event: &str) -> Value {
        self.tells_either(event, event).await
    }

    /// The next event of one of these names, past all others.
    async fn tells_either(&mut self, one: &str, other: &str) -> Value {
        loop {
            let Ok(Some(told)) = timeout(PATIENCE, self.told.recv()).await else {
                panic!(
                    "no event `{one}` or `{other}` came; the player told {:#?}",
                    self.log
                );
            };
            self.log.push(told.clone());
            if told["event"] == one || told["event"] == other {
                return told;
            }
        }
    }

    /// The next publication with these data, past all others.
    async fn hears(&mut self, data: &Value) -> Value {
        loop {
            let publication = self.tells("publication").await;
            if publication["data"] == *data {
                return publication;
            }
        }
    }
}

impl Drop for SdkPlayer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn javascript_players_come_back_into_their_seats_after_a_crash(database: Database) {
    come_back_into_their_seats(both_ways(Sdk::Javascript), database).await;
}

async fn python_players_come_back_into_their_seats_after_a_crash(database: Database) {
    come_back_into_their_seats(both_ways(Sdk::Python), database).await;
}

async fn javascript_and_python_players_play_in_one_room(database: Database) {
    let players = [
        (Sdk::Javascript, Encoding::Protobuf),
        (Sdk::Python, Encoding::Json),
    ];
    come_back_into_their_seats(players, database).await;
}

/// One player of each encoding.
fn both_ways(sdk: Sdk) -> [Stock; 2] {
    [(sdk, Encoding::Json), (sdk, Encoding::Protobuf)]
}

async fn come_back_into_their_seats(sdks: [Stock; 2], database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut one = SdkPlayer::start(sdks[0], &daemon, &host);
    let mut two = SdkPlayer::start(sdks[1], &daemon, &guest);
    for player in [&mut one, &mut two] {
        player.tells("connected").await;
        player.tells("subscribed").await;
    }
    talk(&mut one, &mut two, &host, "before").await;

    daemon.kill();
    for player in [&mut one, &mut two] {
        player.tells("connecting").await;
    }
    daemon.restart().await;

    for (player, seat) in [(&mut one, 0), (&mut two, 1)] {
        let connected = player.tells("connected").await;
        assert_eq!(connected["data"]["seats"][0]["room"], host.room);
        assert_eq!(connected["data"]["seats"][0]["seat"], seat);
        assert_eq!(connected["data"]["seats"][0]["status"], "held");
        let subscribed = player.tells("subscribed").await;
        assert_eq!(subscribed["was_recovering"], true, "{subscribed}");
        assert_eq!(subscribed["recovered"], false, "{subscribed}");
    }
    talk(&mut one, &mut two, &host, "after").await;
}

/// They know nothing of `retry_after`, and come again after a wait of their own.
async fn stock_players_who_are_told_to_wait_come_back_into_their_seats(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut stock = Vec::new();
    for sdk in [
        (Sdk::Javascript, Encoding::Json),
        (Sdk::Javascript, Encoding::Protobuf),
        (Sdk::Python, Encoding::Json),
    ] {
        let player = Player::joins(&daemon, &host.room).await;
        let mut child = SdkPlayer::start(sdk, &daemon, &player);
        child.tells("connected").await;
        child.tells("subscribed").await;
        stock.push((player, child));
    }

    daemon.kill();
    for (_, child) in &mut stock {
        child.tells("connecting").await;
    }
    daemon.reconfigure("admission.per_second", "1");
    daemon.reconfigure("admission.wait", "100ms");
    daemon.restart().await;
    let mut waited = 0;
    for (_, child) in &mut stock {
        let told = tokio::select! {
            told = child.tells_either("refused", "connected") => told,
            never = takes_every_turn(&daemon, &host) => never,
        };
        if told["event"] == "refused" {
            assert_eq!(told["code"], 100, "{told}");
            waited += 1;
        }
    }

    // One of them may have been quicker than the host.
    assert!(waited > 0, "nobody was told to wait");
    for (player, child) in &mut stock {
        let connected = match child.log.last() {
            Some(told) if told["event"] == "connected" => told.clone(),
            Some(_) | None => child.tells("connected").await,
        };
        let seat = &connected["data"]["seats"][0];
        assert_eq!(seat["room"], player.room, "{connected}");
        assert_eq!(seat["seat"].as_u64(), player.seat, "{connected}");
        assert_eq!(seat["status"], "held", "{connected}");
        child.tells("subscribed").await;
    }
    let turned_away = "holdfast_admissions_delayed_total{who=\"seated\",outcome=\"turned_away\"}";
    assert!(daemon.metric(turned_away).await >= waited);
    let [(one, first), (_, second), ..] = &mut stock[..] else {
        panic!("there are three of them");
    };
    talk(first, second, one, "after").await;
}

/// Connects again and again, so that at a slow pace hardly anybody else has a turn.
async fn takes_every_turn(daemon: &Daemon, player: &Player) -> Value {
    loop {
        let mut client = Client::dial(daemon.address()).await;
        if let Err(refusal) = client.connects(&player.token).await {
            assert_eq!(refusal.code(), 100, "{refusal:?}");
        }
    }
}

/// One says something, and both hear who said it.
async fn talk(one: &mut SdkPlayer, two: &mut SdkPlayer, speaker: &Player, text: &str) {
    let said = json!({ "text": text });
    one.publishes(&said);
    one.tells("published").await;
    let heard = two.hears(&said).await;
    assert_eq!(heard["info"]["user"], speaker.user);
}

/// The stock Rust SDK never asks for a subprotocol: Protobuf is asked for in the address.
async fn rust_players_come_back_into_their_seats_after_a_crash(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let (one, mut heard_by_one) = rust_player(&daemon, &host, Encoding::Json);
    let (two, mut heard_by_two) = rust_player(&daemon, &guest, Encoding::Protobuf);
    for heard in [&mut heard_by_one, &mut heard_by_two] {
        hears(heard, &json!("subscribed")).await;
    }

    let room = one.get_subscription(&host.channel).unwrap();
    room.publish(b"\"before\"".to_vec()).await.unwrap();
    for heard in [&mut heard_by_one, &mut heard_by_two] {
        hears(heard, &json!("before")).await;
    }
    daemon.kill();
    daemon.restart().await;
    for heard in [&mut heard_by_one, &mut heard_by_two] {
        hears(heard, &json!("subscribed")).await;
    }
    let room = two.get_subscription(&host.channel).unwrap();
    room.publish(b"\"after\"".to_vec()).await.unwrap();
    for heard in [&mut heard_by_one, &mut heard_by_two] {
        hears(heard, &json!("after")).await;
    }
    for player in [&host, &guest] {
        assert_eq!(player.seat_in_room(&daemon).await["status"], "held");
    }
}

/// Tells of each subscription and each publication that it hears.
fn rust_player(
    daemon: &Daemon,
    player: &Player,
    encoding: Encoding,
) -> (Centrifuge, mpsc::Receiver<Value>) {
    let (query, config) = match encoding {
        Encoding::Json => ("", Config::new().use_json()),
        Encoding::Protobuf => ("?format=protobuf", Config::new().use_protobuf()),
    };
    let url = format!("ws://{}/connection/websocket{query}", daemon.address());
    let client = Centrifuge::new(&url, config.with_token(&player.token));
    let room = client.new_subscription(&player.channel);
    let (telling, heard) = mpsc::channel(LINES_AHEAD_MAX);
    let subscribed = telling.clone();
    room.on_subscribed(move |_| {
        // Nobody listens any more at the end of the test.
        let _ = subscribed.try_send(json!("subscribed"));
    });
    room.on_publication(move |publication| {
        let data = serde_json::from_slice(&publication.data).expect("payloads are JSON");
        // As above.
        let _ = telling.try_send(data);
    });
    drop(room.subscribe());
    drop(client.connect());
    (client, heard)
}

async fn hears(heard: &mut mpsc::Receiver<Value>, expected: &Value) {
    loop {
        let told = timeout(PATIENCE, heard.recv()).await;
        let told = told.unwrap_or_else(|_| panic!("{expected} did not come"));
        if told.as_ref() == Some(expected) {
            return;
        }
    }
}

/// Tests in the suite, each of which has to pass.
const SUITE_TESTS: usize = 62;

/// Some of them wait for ever if the hub is not as they expect.
const SUITE_WITHIN: Duration = Duration::from_secs(120);

/// The suite expects a hub with this login and these kinds, and clients of one user.
async fn the_python_sdk_passes_its_own_tests(database: Database) {
    let mut plan = Daemon::on(database);
    for (key, value) in [
        ("auth.guests", "false"),
        ("auth.hmac_secret", "secret"),
        ("auth.require_exp", "false"),
        ("auth.personal_channel", "true"),
        ("kind.default.seats", "0"),
        ("kind.default.join_leave", "true"),
        ("kind.default.history_size", "100"),
        ("kind.default.history_ttl", "300s"),
        ("kind.smallhistory.seats", "0"),
        ("kind.smallhistory.history_size", "2"),
        ("kind.smallhistory.history_ttl", "300s"),
    ] {
        plan = plan.set(key, value);
    }
    let daemon = plan.start().await;
    let suite = suite_for(&daemon);

    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/python/bin/python");
    let mut suite_run = program("timeout");
    suite_run
        .arg(SUITE_WITHIN.as_secs().to_string())
        .arg(python)
        .args(["-m", "unittest", "-v", "tests.test_client"])
        .current_dir(suite.path());
    let ran = tokio::task::spawn_blocking(move || output(&mut suite_run)).await;
    let ran = ran.unwrap().expect("the suite starts");

    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains(&format!("Ran {SUITE_TESTS} tests")), "{said}");
    assert!(!said.contains("skipped"), "{said}");
}

/// A copy of the suite that looks for its server where this daemon is.
fn suite_for(daemon: &Daemon) -> tempfile::TempDir {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/python/suite/tests");
    let copy = tempfile::tempdir().unwrap();
    let tests = copy.path().join("tests");
    fs::create_dir(&tests).unwrap();
    let files = fs::read_dir(&suite).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; start the tests with tests/run",
            suite.display()
        )
    });
    for file in files {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "py") {
            let text = fs::read_to_string(&file).unwrap();
            let text = text.replace("localhost:8000", &daemon.address().to_string());
            fs::write(tests.join(file.file_name().unwrap()), text).unwrap();
        }
    }
    copy
}

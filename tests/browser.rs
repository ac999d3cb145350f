//! The playground, as people use it: in Chromium, with the mouse and the keyboard.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{
    Daemon, Database, ErrorOutput, PATIENCE, Proxy, eventually, on_both_databases, output, program,
    repeated,
};

on_both_databases!(refreshes_of_each_player_lose_and_double_nothing);

/// Answers the browser may be ahead of the test; each order has one, and is waited for.
const ANSWERS_AHEAD_MAX: usize = 1;

/// How long a page may take to show that an order was followed.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);

/// A phone, in CSS pixels.
const PHONE_WIDTH: u64 = 390;

/// A browser with the playground open, told what to do by a script that knows where things are.
struct Browser {
    child: Child,
    orders: Option<ChildStdin>,
    answers: mpsc::Receiver<Value>,
    _folder: TempDir,
    _errors: ErrorOutput,
}

/// One of the two players of a tab.
#[derive(Debug, Clone, Copy)]
struct Person {
    tab: &'static str,
    player: &'static str,
}

const ANA: Person = Person {
    tab: "first",
    player: "a",
};

/// Beside Ana, in the same tab.
const BO: Person = Person {
    tab: "first",
    player: "b",
};

/// A friend who was sent the address.
const CLEO: Person = Person {
    tab: "second",
    player: "a",
};

/// Bo in a copy of the tab.
const BO_AGAIN: Person = Person {
    tab: "copy",
    player: "b",
};

impl Browser {
    /// Opens pages of whoever listens at this address.
    fn start(address: SocketAddr) -> Browser {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let mut command = program("node");
        let errors = ErrorOutput::of(&mut command);
        let mut child = command
            .arg(root.join("tests/browser/playground.mjs"))
            .arg(root.join(".cache/node"))
            .arg(folder.path())
            .arg(format!("http://{address}"))
            // The script gives up first, as it can tell what the page showed.
            .arg(ORDER_TIMEOUT.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; start the tests with tests/run"));
        let output = child.stdout.take().expect("its output is piped");
        let orders = child.stdin.take();
        let (telling, answers) = mpsc::channel(ANSWERS_AHEAD_MAX);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&line).unwrap_or(json!({ "failed": line }));
                if telling.blocking_send(answer).is_err() {
                    return;
                }
            }
        });
        Browser {
            child,
            orders,
            answers,
            _folder: folder,
            _errors: errors,
        }
    }

    /// Gives an order and waits until the page shows that it was followed.
    async fn order(&mut self, order: Value) -> Value {
        let orders = self.orders.as_mut().expect("open until it is dropped");
        writeln!(orders, "{order}").unwrap();
        let answer = timeout(PATIENCE, self.answers.recv()).await;
        let Ok(Some(mut answer)) = answer else {
            panic!("the browser does not answer to {order}; start the tests with tests/run");
        };
        let failed = answer.get("failed").is_some();
        assert!(!failed, "{order}: {answer:#}");
        answer["done"].take()
    }

    async fn opens(&mut self, tab: &str, path: &str) {
        self.order(json!({ "act": "open", "page": tab, "path": path }))
            .await;
    }

    async fn tab(&mut self, act: &str, person: Person) -> Value {
        self.order(json!({ "act": act, "page": person.tab })).await
    }

    async fn does(&mut self, person: Person, act: &str) -> Value {
        self.order(json!({ "act": act, "page": person.tab, "player": person.player }))
            .await
    }

    async fn paints(&mut self, person: Person, square: u64) {
        self.order(json!({ "act": "paints", "page": person.tab, "player": person.player, "square": square }))
            .await;
    }

    /// All moves in the stream, once there are so many.
    async fn moves(&mut self, person: Person, count: usize) -> Vec<Value> {
        let order =
            json!({ "act": "moves", "page": person.tab, "player": person.player, "count": count });
        let moves = self.order(order).await;
        moves.as_array().expect("a list").clone()
    }

    async fn text(&mut self, person: Person, act: &str, text: &str) {
        self.order(
            json!({ "act": act, "page": person.tab, "player": person.player, "text": text }),
        )
        .await;
    }

    async fn says(&mut self, person: Person, text: &str) {
        self.text(person, "says", text).await;
    }

    async fn hears(&mut self, person: Person, text: &str) {
        self.text(person, "hears", text).await;
    }

    async fn sits(&mut self, person: Person, seat: u64) {
        let shown = self.does(person, "sits").await;
        assert_eq!(shown, format!("Seat {seat} · you"));
    }

    /// Scripts that failed, and what the page's own policy forbade.
    async fn has_no_faults(&mut self) {
        let faults = self.order(json!({ "act": "faults" })).await;
        assert_eq!(faults, json!([]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its orders: it closes Chromium and goes.
        drop(self.orders.take());
        // It may have ended with a failure of its own, which the test has told.
        let _ = self.child.wait();
    }
}

/// Ana has opened a room and Bo, beside her, has joined it.
async fn two_at_a_table(daemon: &Daemon) -> Browser {
    let mut browser = Browser::start(daemon.address());
    browser.opens(ANA.tab, "/").await;
    take_seats(&mut browser).await;
    browser
}

async fn take_seats(browser: &mut Browser) {
    browser.does(ANA, "opens_room").await;
    browser.sits(ANA, 0).await;
    browser.does(BO, "joins").await;
    browser.sits(BO, 1).await;
}

/// Cleo joins them, in a tab of her own.
async fn cleo_joins(browser: &mut Browser, seat: u64) {
    let address = browser.tab("address", ANA).await;
    let (_, query) = address.as_str().unwrap().split_once('?').unwrap();
    browser.opens(CLEO.tab, &format!("/?{query}")).await;
    browser.text(CLEO, "names", "Cleo").await;
    browser.does(CLEO, "joins").await;
    browser.sits(CLEO, seat).await;
}

#[tokio::test]
async fn two_players_of_the_playground_sit_and_hear_each_other() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;

    browser.says(ANA, "your move").await;
    browser.hears(BO, "your move").await;
    browser.says(BO, "e4").await;
    browser.hears(ANA, "e4").await;

    let order = json!({ "act": "width", "page": ANA.tab, "width": PHONE_WIDTH });
    let width = browser.order(order).await;
    assert_eq!(width, PHONE_WIDTH, "the page is wider than a phone");
    browser.has_no_faults().await;
}

#[tokio::test]
async fn f5_keeps_the_seat_and_shows_what_was_missed() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;
    cleo_joins(&mut browser, 2).await;
    browser.says(CLEO, "before").await;
    browser.hears(ANA, "before").await;

    browser.tab("presses_f5", CLEO).await;
    browser.text(ANA, "sees", "is away: seat 2").await;
    browser.says(ANA, "first while away").await;
    browser.says(BO, "second while away").await;
    browser.tab("comes_back", CLEO).await;

    browser.sits(CLEO, 2).await;
    browser.hears(CLEO, "second while away").await;
    assert_eq!(
        browser.does(CLEO, "stream").await,
        json!([
            { "text": "before", "missed": false },
            { "text": "first while away", "missed": true },
            { "text": "second while away", "missed": true },
        ])
    );
    browser.says(CLEO, "after").await;
    browser.hears(BO, "after").await;
    browser.has_no_faults().await;
}

#[tokio::test]
async fn players_are_back_in_their_seats_after_the_hub_was_killed() {
    let mut daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;
    browser.says(ANA, "before").await;
    browser.hears(BO, "before").await;

    daemon.kill();
    browser.does(ANA, "sees_lost_line").await;
    browser.does(BO, "sees_lost_line").await;
    daemon.restart().await;

    browser.sits(ANA, 0).await;
    browser.sits(BO, 1).await;
    browser.text(BO, "sees", "the stream began anew").await;
    browser.says(ANA, "after").await;
    browser.hears(BO, "after").await;
    browser.has_no_faults().await;
}

#[tokio::test]
async fn a_player_in_a_second_tab_takes_over_and_the_first_one_says_so() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;

    let order = json!({ "act": "duplicates", "page": BO.tab, "copy": BO_AGAIN.tab });
    browser.order(order).await;

    browser.sits(BO_AGAIN, 1).await;
    browser.text(BO, "sees", "connected in another tab").await;
    browser.says(BO_AGAIN, "still me").await;
    let stream = browser.does(BO_AGAIN, "stream").await;
    assert_eq!(stream, json!([{ "text": "still me", "missed": false }]));

    browser.text(BO, "presses", "Take it back").await;
    browser.sits(BO, 1).await;
    browser
        .text(BO_AGAIN, "sees", "connected in another tab")
        .await;
    browser.has_no_faults().await;
}

/// Square `number` as the players call it.
fn name_of(number: u64) -> String {
    let column = char::from(b'A' + u8::try_from(number % 6).unwrap());
    format!("painted {column}{}", number / 6 + 1)
}

async fn refreshes_of_each_player_lose_and_double_nothing(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let mut browser = Browser::start(daemon.address());
    browser.opens(ANA.tab, "/").await;
    browser.does(ANA, "opens_room").await;
    browser.sits(ANA, 0).await;
    cleo_joins(&mut browser, 1).await;

    // What each of them painted, in their order.
    let mut painted: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..repeated(4, 10) {
        for (seat, (one, other)) in [(ANA, CLEO), (CLEO, ANA)].into_iter().enumerate() {
            let dice = Uuid::new_v4().into_bytes().map(|byte| u64::from(byte) % 36);
            let (own, squares) = (dice[0], &dice[1..13]);
            let seen = browser
                .order(json!({
                    "act": "refreshes", "page": one.tab, "player": one.player, "square": own,
                    "by": { "page": other.tab, "player": other.player },
                    "squares": squares, "after": dice[13] % 6,
                }))
                .await;
            assert_eq!(seen, format!("Seat {seat} · you"));
            painted[seat].push(own);
            painted[1 - seat].extend(squares);
        }
    }

    let count = painted.iter().map(Vec::len).sum();
    let shown = browser.moves(ANA, count).await;
    let others = browser.moves(CLEO, count).await;
    let offsets: Vec<u64> = shown
        .iter()
        .map(|shown| shown["offset"].as_u64().unwrap())
        .collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
    let facts = |moves: &[Value]| -> Vec<(Value, Value, Value)> {
        let fact = |one: &Value| {
            (
                one["by"].clone(),
                one["text"].clone(),
                one["offset"].clone(),
            )
        };
        moves.iter().map(fact).collect()
    };
    assert_eq!(facts(&shown), facts(&others), "both saw the same");
    for (moves, name) in painted.iter().zip(["Ana", "Cleo"]) {
        let of_them: Vec<&str> = shown
            .iter()
            .filter(|shown| shown["by"] == name)
            .map(|shown| shown["text"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = moves.iter().map(|square| name_of(*square)).collect();
        assert_eq!(of_them, expected, "what {name} painted");
    }
    assert_eq!(
        browser.does(ANA, "board").await,
        browser.does(CLEO, "board").await
    );
    let missed = shown
        .iter()
        .chain(&others)
        .filter(|one| one["missed"] == true);
    assert!(missed.count() > 0, "no refresh missed anything");
    browser.has_no_faults().await;
}

#[tokio::test]
async fn a_closed_tab_that_is_opened_again_has_its_seats() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = Browser::start(daemon.address());
    browser.opens(ANA.tab, "/").await;
    browser.text(ANA, "keeps_players", "local").await;
    take_seats(&mut browser).await;
    browser.paints(BO, 7).await;
    browser.moves(ANA, 1).await;
    let address = browser.tab("address", ANA).await;
    let (_, code) = address.as_str().unwrap().split_once('=').unwrap();

    browser.tab("closes", ANA).await;
    eventually("both seats are away", async || {
        let room = daemon.room(code).await;
        let is_away = |seat: usize| room["seats"][seat]["status"] == "away";
        (is_away(0) && is_away(1))
            .then_some(())
            .ok_or(room.to_string())
    })
    .await;
    browser.opens(CLEO.tab, "/").await;

    let bo = Person {
        tab: CLEO.tab,
        ..BO
    };
    browser.sits(CLEO, 0).await;
    browser.sits(bo, 1).await;
    assert_eq!(browser.moves(CLEO, 1).await[0]["text"], name_of(7));
    browser.text(bo, "sees", "kept through one return").await;
    browser.has_no_faults().await;
}

#[tokio::test]
async fn the_kill_button_kills_the_hub_and_the_players_sit_where_they_sat() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let mut browser = two_at_a_table(&daemon).await;
    browser.paints(ANA, 0).await;
    browser.moves(BO, 1).await;

    browser.tab("kills_the_hub", ANA).await;
    for person in [ANA, BO] {
        browser
            .text(person, "sees", "kept through one return")
            .await;
    }

    browser.sits(ANA, 0).await;
    browser.sits(BO, 1).await;
    browser.paints(BO, 1).await;
    assert_eq!(browser.moves(ANA, 2).await[1]["text"], name_of(1));
    assert!(daemon.log().contains("\"signal\":9"));
    browser.has_no_faults().await;
    daemon.stop().await;
}

#[tokio::test]
async fn who_lost_the_line_for_seconds_gets_what_was_missed() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;
    browser.paints(BO, 3).await;
    browser.moves(BO, 1).await;

    browser.text(BO, "drops_for", "for 3 s").await;
    browser.text(ANA, "sees", "is away: seat 1").await;
    browser.paints(ANA, 4).await;
    browser.paints(ANA, 5).await;
    // Said when there is a line again.
    browser.paints(BO, 4).await;

    browser.text(BO, "sees", "all recovered in order").await;
    let (ana, bo) = (browser.moves(ANA, 4).await, browser.moves(BO, 4).await);
    let missed: Vec<bool> = bo.iter().map(|one| one["missed"] == true).collect();
    assert_eq!(missed, [false, true, true, false]);
    assert_eq!(ana[3]["text"], name_of(4));
    assert_eq!(ana[3]["by"], "Bo");
    browser.sits(BO, 1).await;
    browser.has_no_faults().await;
}

#[tokio::test]
async fn a_slow_line_shows_what_is_on_its_way_and_keeps_the_order() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;

    browser.text(BO, "presses", "Slow line").await;
    browser.paints(BO, 8).await;
    let order =
        json!({ "act": "sees_on_its_way", "page": BO.tab, "player": BO.player, "square": 8 });
    browser.order(order).await;
    browser.paints(ANA, 9).await;

    let (ana, bo) = (browser.moves(ANA, 2).await, browser.moves(BO, 2).await);
    assert_eq!(ana, bo);
    assert_eq!(bo[1]["by"], "Bo");
    browser.has_no_faults().await;
}

#[tokio::test]
async fn a_line_that_only_looks_alive_is_found_out_when_the_page_or_the_network_wakes() {
    // Were it not asked, the line would be taken for alive for 35 s; no order waits for so long.
    assert!(ORDER_TIMEOUT < Duration::from_secs(35));
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let proxy = Proxy::to(daemon.address()).await;
    let mut browser = Browser::start(proxy.address());
    browser.opens(ANA.tab, "/").await;
    take_seats(&mut browser).await;

    proxy.goes_silent();
    browser.tab("is_looked_at", ANA).await;
    browser.does(ANA, "sees_lost_line").await;
    browser.does(BO, "sees_lost_line").await;
    proxy.comes_up();
    browser.sits(ANA, 0).await;
    browser.sits(BO, 1).await;

    proxy.goes_silent();
    browser.tab("goes_offline", ANA).await;
    browser.does(ANA, "sees_lost_line").await;
    proxy.comes_up();
    browser.tab("comes_online", ANA).await;
    browser.sits(ANA, 0).await;
    browser.text(ANA, "sees", "kept through 2 returns").await;
    browser.has_no_faults().await;
}

#[tokio::test]
async fn the_command_that_led_here_has_the_same_answer_when_it_is_repeated_after_a_kill() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let mut browser = two_at_a_table(&daemon).await;

    browser.tab("kills_the_hub", ANA).await;

    browser
        .text(ANA, "sees", "room.open repeated once: same answer")
        .await;
    browser
        .text(BO, "sees", "room.join repeated once: same answer")
        .await;
    browser.text(ANA, "presses", "Repeat the command").await;
    browser
        .text(ANA, "sees", "room.open repeated 2 times: same answer")
        .await;
    let rooms = daemon.store().count("SELECT COUNT(*) FROM rooms").await;
    assert_eq!(rooms, 1);
    browser.has_no_faults().await;
    daemon.stop().await;
}

#[tokio::test]
async fn who_lost_the_session_comes_back_with_the_seat_token() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let mut browser = two_at_a_table(&daemon).await;
    browser.paints(ANA, 2).await;
    browser.moves(ANA, 1).await;

    browser.does(ANA, "loses_session").await;
    browser.tab("reloads", ANA).await;
    browser.sits(ANA, 0).await;
    browser.sits(BO, 1).await;
    browser.text(ANA, "sees", "kept through one return").await;
    browser.paints(ANA, 3).await;
    browser.moves(BO, 2).await;

    // On another device.
    let token = browser.does(ANA, "seat_token").await;
    let address = format!("/#seat={}", token.as_str().unwrap());
    browser.opens(CLEO.tab, &address).await;
    browser.sits(CLEO, 0).await;
    browser.text(ANA, "sees", "on another device").await;
    browser.paints(CLEO, 4).await;
    browser.moves(BO, 3).await;
    browser.has_no_faults().await;
}

#[test]
fn the_rules_of_the_client_file_hold() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/client.mjs");
    let ran = output(program("node").arg(script)).unwrap();

    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(told.contains("# fail 0"), "{told}");
}

//! The playground, as people use it: in Chromium, with the mouse and the keyboard.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Daemon, Database, PATIENCE};

/// Answers the browser may be ahead of the test; each order has one, and is waited for.
const ANSWERS_AHEAD_MAX: usize = 1;

/// A phone, in CSS pixels.
const PHONE_WIDTH: u64 = 390;

/// A browser with the playground open, told what to do by a script that knows where things are.
struct Browser {
    child: Child,
    orders: Option<ChildStdin>,
    answers: mpsc::Receiver<Value>,
    _folder: TempDir,
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
    fn start(daemon: &Daemon) -> Browser {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("node")
            .arg(root.join("tests/browser/playground.mjs"))
            .arg(root.join(".cache/node"))
            .arg(folder.path())
            .arg(format!("http://{}", daemon.address()))
            // The script gives up first, as it can tell what the page showed.
            .arg((PATIENCE / 2).as_millis().to_string())
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
    let mut browser = Browser::start(daemon);
    browser.opens(ANA.tab, "/").await;
    browser.does(ANA, "opens_room").await;
    browser.sits(ANA, 0).await;
    browser.does(BO, "joins").await;
    browser.sits(BO, 1).await;
    browser
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
    let address = browser.tab("address", ANA).await;
    let (_, query) = address.as_str().unwrap().split_once('?').unwrap();
    browser.opens(CLEO.tab, &format!("/?{query}")).await;
    browser.does(CLEO, "joins").await;
    browser.sits(CLEO, 2).await;
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
    browser.has_no_faults().await;
}

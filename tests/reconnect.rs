//! A thousand lost lines: stock SDK clients behind lines that are cut, slow and dead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sdk::SdkPlayer;
use crate::support::{
    Client, Daemon, Database, Dice, Player, Proxy, on_both_databases, program, repeated,
};

on_both_databases!(reconnect_after_reconnect_loses_no_seat_and_no_publication);

const ROOMS: usize = 5;
const SEATS: usize = 4;

/// Returns to a seat, by all of them together.
const RECONNECTS: usize = 200;

/// The same in a run of `tests/long`.
const RECONNECTS_LONG: usize = 1_000;

/// Lines that are cut at one time.
const CUTS: usize = 8;

/// One player with a line of its own.
struct Member {
    player: Player,
    line: Proxy,
    /// How often it was told that it is connected.
    connected: usize,
    /// In how many rounds its line is as it should be again.
    trouble: u32,
}

async fn reconnect_after_reconnect_loses_no_seat_and_no_publication(database: Database) {
    let daemon = Daemon::on(database)
        .set("client.ping", "1s")
        .set("client.pong_timeout", "500ms")
        .set("client.recovery_max", "10000")
        .set("client.queue_count_max", "65536")
        .set("kind.table.read", "anyone")
        .set("kind.table.history_size", "100000")
        .set("kind.table.history_bytes", "64MiB")
        .start()
        .await;
    let mut members = arrive(&daemon).await;
    let mut crowd = start(&members);
    for _ in 0..members.len() {
        let told = crowd.tells("connected").await;
        connected(&mut members, &told);
    }

    let mut dice = Dice(20);
    while reconnects(&members) < repeated(RECONNECTS, RECONNECTS_LONG) {
        round(&mut members, &mut crowd, &mut dice).await;
    }
    for member in &members {
        member.line.comes_up();
    }
    crowd.is_told(&json!({ "be": "silent" }));
    for _ in 0..members.len() {
        crowd.tells("silent").await;
    }
    let tops = tops(&daemon, &members).await;
    crowd.is_told(&json!({ "tops": tops }));

    let mut reports = BTreeMap::new();
    for _ in 0..members.len() {
        let report = crowd.tells("report").await;
        reports.insert(report["player"].as_u64().unwrap() as usize, report);
    }
    for (number, report) in &reports {
        sat_in_its_seat_all_the_time(&members[*number], report);
        heard_each_offset_once_and_in_order(report);
        for other in 0..SEATS {
            let speaker = &reports[&(number - number % SEATS + other)];
            heard_all_that_was_acknowledged(report, speaker);
        }
    }
    let seats = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(seats).await, members.len() as i64);
    for reason in ["left", "hold_over", "session_ended"] {
        let released = format!("holdfast_seats_released_total{{reason=\"{reason}\"}}");
        assert_eq!(daemon.metric(&released).await, 0, "{reason}");
    }
}

async fn arrive(daemon: &Daemon) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..ROOMS {
        let host = Player::opens(daemon).await;
        let mut players = vec![host.clone()];
        for _ in 1..SEATS {
            players.push(Player::joins(daemon, &host.room).await);
        }
        for player in players {
            members.push(Member {
                player,
                line: Proxy::to(daemon.address()).await,
                connected: 0,
                trouble: 0,
            });
        }
    }
    members
}

fn start(members: &[Member]) -> SdkPlayer {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = program("node");
    command
        .arg(root.join("tests/sdk/crowd.mjs"))
        .arg(root.join(".cache/node"));
    let mut crowd = SdkPlayer::run(&mut command);
    let players: Vec<Value> = members
        .iter()
        .map(|Member { player, line, .. }| {
            let url = format!("ws://{}/connection/websocket", line.address());
            json!({ "url": url, "token": player.token, "channel": player.channel })
        })
        .collect();
    crowd.is_told(&json!(players));
    crowd
}

fn connected(members: &mut [Member], told: &Value) {
    let number = told["player"].as_u64().unwrap() as usize;
    members[number].connected += 1;
}

fn reconnects(members: &[Member]) -> usize {
    let connected: usize = members.iter().map(|member| member.connected).sum();
    connected - members.len()
}

/// Cuts some lines, brings others into trouble and back, and waits until those that were only cut have
/// come back.
async fn round(members: &mut [Member], crowd: &mut SdkPlayer, dice: &mut Dice) {
    let mut any = |below: usize| (dice.roll() % below as u64) as usize;
    let unlucky = any(members.len());
    let seed = any(1 << 30) as u64;
    let trouble = any(6);
    let cuts: BTreeSet<usize> = (0..CUTS).map(|_| any(members.len())).collect();
    if members[unlucky].trouble == 0 {
        let Member {
            line,
            trouble: rounds,
            ..
        } = &mut members[unlucky];
        match trouble {
            0 => line.goes_silent(),
            1 => line.goes_down(),
            2 | 3 => line.cut_at_any_byte(seed),
            _ => line.delay(Duration::from_millis(seed % 40)),
        }
        // A dead line has to be found out by the heartbeat, which takes longer than a few cuts.
        *rounds = if trouble == 0 { 20 } else { 4 };
    }
    let before: Vec<usize> = members.iter().map(|member| member.connected).collect();
    let mut waited_for: BTreeSet<usize> = BTreeSet::new();
    for (number, member) in members.iter_mut().enumerate() {
        match member.trouble {
            0 if cuts.contains(&number) => {
                member.line.cut();
                waited_for.insert(number);
            }
            0 => {}
            1 => {
                member.trouble = 0;
                // Whatever was under way on it begins anew.
                member.line.comes_up();
                member.line.cut();
                waited_for.insert(number);
            }
            _ => member.trouble -= 1,
        }
    }
    while waited_for
        .iter()
        .any(|number| members[*number].connected == before[*number])
    {
        let told = crowd.tells("connected").await;
        connected(members, &told);
    }
}

/// For each member, the offset of the last publication of its room, asked by somebody else.
async fn tops(daemon: &Daemon, members: &[Member]) -> Vec<Value> {
    let mut client = Client::dial(daemon.address()).await;
    client.asks("connect", json!({})).await.unwrap();
    let mut tops = Vec::new();
    for member in members {
        let channel = json!({ "channel": member.player.channel });
        let position = client.asks("history", channel).await;
        tops.push(position.unwrap()["offset"].take());
    }
    tops
}

#[track_caller]
fn sat_in_its_seat_all_the_time(member: &Member, report: &Value) {
    let all = report["seats"].as_array().unwrap();
    for seats in all {
        let seats = seats.as_array().unwrap();
        assert_eq!(seats.len(), 1, "{seats:?}");
        assert_eq!(seats[0]["room"], member.player.room);
        assert_eq!(seats[0]["seat"], member.player.seat.unwrap());
        assert_eq!(seats[0]["status"], "held");
    }
    assert!(all.len() > 1, "{} never came back", report["player"]);
}

#[track_caller]
fn heard_each_offset_once_and_in_order(report: &Value) {
    assert_eq!(report["lost"], 0, "a recovery failed");
    let heard = report["heard"].as_array().unwrap();
    let offsets: Vec<u64> = heard
        .iter()
        .map(|publication| publication["offset"].as_u64().unwrap())
        .collect();
    for pair in offsets.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "player {}", report["player"]);
    }
}

#[track_caller]
fn heard_all_that_was_acknowledged(report: &Value, speaker: &Value) {
    let heard = report["heard"].as_array().unwrap();
    let said: Vec<&str> = heard
        .iter()
        .filter_map(|publication| publication["data"].as_str())
        .collect();
    let once: BTreeSet<&str> = said.iter().copied().collect();
    assert_eq!(said.len(), once.len(), "something was heard twice");
    let acknowledged = speaker["acknowledged"].as_array().unwrap();
    assert!(
        acknowledged.len() >= 20,
        "{} said nothing",
        speaker["player"]
    );
    let missing: Vec<&Value> = acknowledged
        .iter()
        .filter(|data| !once.contains(data.as_str().unwrap()))
        .collect();
    assert!(
        missing.is_empty(),
        "{missing:?} of {} is missing",
        speaker["player"]
    );
}

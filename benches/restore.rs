//! How long the daemon takes to come back with 100,000 seated sessions after a crash, on SQLite.
//!
//! `cargo bench --bench restore`; `PLAYERS=n` for another number.

use std::time::Instant;

use futures_util::StreamExt as _;
use holdfast::config::Config;
use holdfast::persistence::{ClaimSeat, Command, OpenRoom, SessionWrite};
use serde_json::{Value, json};

use support::daemon::Daemon;
use support::hub::{Hub, new_guest, new_room, new_seat};
use support::machine::{facts, median, rounded};

mod support {
    pub(crate) mod code;
    pub(crate) mod daemon;
    pub(crate) mod hub;
    pub(crate) mod machine;
}

const PLAYERS: u32 = 100_000;

const SEATS: u16 = 8;

/// Each start reads what the one before left behind when it was killed.
const ROUNDS: usize = 3;

/// Rooms filled at a time: enough for large groups of commits.
const ROOMS_AT_A_TIME: usize = 256;

#[tokio::main]
async fn main() {
    let players = std::env::var("PLAYERS")
        .ok()
        .map_or(PLAYERS, |text| text.parse().expect("PLAYERS is a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a new folder");
    let url = format!("sqlite://{}", data.join("holdfast.db").display());

    let began = Instant::now();
    fill(&url, players).await;
    eprintln!("{players} players seated in {:?}", began.elapsed());

    let mut measured = Vec::new();
    for _ in 0..ROUNDS {
        let daemon = Daemon::start(folder.path(), &[("kind.table.seats", "8")]).await;
        let restored = restored(&daemon.log());
        assert_eq!(restored["sessions"], players, "{restored}");
        measured.push((
            restored["milliseconds"].as_f64().expect("a number"),
            daemon.ready_after.as_secs_f64() * 1000.0,
        ));
    }
    let line = json!({
        "bench": "restore",
        "database": "sqlite",
        "sessions": players,
        "rooms": players / u32::from(SEATS),
        "restored_ms": median(measured.iter().map(|(restored, _)| *restored)),
        "restored_ms_each": measured.iter().map(|(restored, _)| *restored).collect::<Vec<_>>(),
        "exec_to_ready_ms": rounded(median(measured.iter().map(|(_, ready)| *ready)), 0),
        "goal_ms": 2000,
        "machine": facts(folder.path()),
    });
    println!("{line}");
}

/// Seats everybody through the writer of the daemon, which then ends without a word.
async fn fill(url: &str, players: u32) {
    let mut config = Config::default();
    config.database.url = url.into();
    let hub = Hub::start(&config).await;
    hub.persistence.begin_run().await.expect("a new database");
    futures_util::stream::iter(0..players / u32::from(SEATS))
        .for_each_concurrent(ROOMS_AT_A_TIME, |_| fill_room(&hub))
        .await;
    hub.stop().await;
}

async fn fill_room(hub: &Hub) {
    let room = new_room("table");
    let id = room.id;
    let open = OpenRoom {
        room,
        user: new_guest(),
        session: SessionWrite::New(hub.new_session()),
        seat: new_seat(0),
        cost: 0,
    };
    write(hub, Command::OpenRoom(Box::new(open))).await;
    let claims = (1..SEATS).map(|number| {
        let claim = ClaimSeat {
            room: id,
            user: new_guest(),
            session: SessionWrite::New(hub.new_session()),
            seat: new_seat(number),
            cost: 0,
        };
        write(hub, Command::ClaimSeat(Box::new(claim)))
    });
    futures_util::future::join_all(claims).await;
}

async fn write(hub: &Hub, command: Command) {
    let written = hub.persistence.write(command).await;
    written.expect("nothing else wants this seat");
}

/// The fields of the line that says what came back.
fn restored(log: &str) -> Value {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut found = lines.filter_map(|line: Value| {
        let fields = line.get("fields").unwrap_or(&line).clone();
        (fields["message"] == "restored").then_some(fields)
    });
    found
        .next()
        .unwrap_or_else(|| panic!("nothing was restored:\n{log}"))
}

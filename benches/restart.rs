//! Time until the daemon is ready again with many seats and histories: after `kill -9` and after a planned stop, on
//! both databases, with one player to a room and with eight.
//!
//! `cargo bench --bench restart`. Choose with `SEATS=100000,300000`, `PER_ROOM=1,8`, `PUBLICATIONS=0,1000000` and
//! `DATABASE=sqlite` or `postgres`. PostgreSQL is measured if `HOLDFAST_TEST_DATABASE_URL` names a server.

use std::process::Command;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};

use support::daemon::Daemon;
use support::fresh::{NewSessionDraft, Server};
use support::machine::{facts, median, rounded};

mod support {
    pub(crate) mod daemon;
    pub(crate) mod fresh;
    pub(crate) mod machine;
    pub(crate) mod seated;
}

/// Limit on a start and on a stop: a daemon that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(600);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The contents of the tables.
#[derive(Debug, Clone, Copy)]
struct Size {
    seats: u64,
    per_room: u64,
    publications: u64,
}

/// One measured start.
struct Start {
    after: &'static str,
    ready: Duration,
    /// From exec until every room and session has its actor.
    live: Duration,
    /// The time that the planned stop before it took.
    stop: Option<Duration>,
}

#[tokio::main]
async fn main() {
    let sizes = sizes();
    let mut lines = Vec::new();
    for server in servers() {
        for size in &sizes {
            let starts = measure(&server, *size).await;
            let version = server.version().await;
            for start in &starts {
                let line = line(&version, *size, start);
                eprintln!("{line}");
                lines.push(line);
            }
        }
    }
    show(&lines);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ready = median(lines.iter().filter_map(|line| line["ready_ms"].as_f64()));
    let result = json!({
        "bench": "restart",
        "starts": lines,
        "ready_ms_median": ready,
        "machine": facts(folder.path()),
    });
    println!("{result}");
}

fn sizes() -> Vec<Size> {
    let publications = numbers("PUBLICATIONS", &[0, 1_000_000]);
    let mut sizes = Vec::new();
    for seats in numbers("SEATS", &[100_000, 300_000]) {
        for per_room in numbers("PER_ROOM", &[1, 8]) {
            sizes.extend(publications.iter().map(|publications| Size {
                seats,
                per_room,
                publications: *publications,
            }));
        }
    }
    sizes
}

fn numbers(name: &str, usual: &[u64]) -> Vec<u64> {
    let Ok(text) = std::env::var(name) else {
        return usual.to_vec();
    };
    let numbers = text.split(',').map(|number| number.trim().parse());
    numbers
        .collect::<Result<_, _>>()
        .unwrap_or_else(|_| panic!("{name} is a list of numbers"))
}

fn servers() -> Vec<Server> {
    let wanted = std::env::var("DATABASE").unwrap_or_default();
    let mut servers = Vec::new();
    if wanted != "postgres" {
        servers.push(Server::Sqlite);
    }
    if wanted != "sqlite" {
        match std::env::var("HOLDFAST_TEST_DATABASE_URL") {
            Ok(url) => servers.push(Server::Postgres(url)),
            Err(_) => eprintln!("HOLDFAST_TEST_DATABASE_URL is not set: PostgreSQL is left out"),
        }
    }
    servers
}

/// Measures three starts: from tables as a planned stop leaves them, after `kill -9`, and after a planned stop.
async fn measure(server: &Server, size: Size) -> Vec<Start> {
    let fresh = NewSessionDraft::make(server).await;
    fresh.migrate().await;
    let began = Instant::now();
    fill(&fresh, size).await;
    eprintln!("{size:?} filled in in {:?}", began.elapsed());

    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut starts = Vec::new();
    let (daemon, start) = start(&fresh, &folder, "SIGTERM", None).await;
    starts.push(start);
    drop(daemon);
    let (daemon, start) = self::start(&fresh, &folder, "kill -9", None).await;
    starts.push(start);
    let stop = stop(daemon).await;
    let (daemon, start) = self::start(&fresh, &folder, "SIGTERM", Some(stop)).await;
    starts.push(start);
    drop(daemon);
    fresh.remove().await;
    starts
}

async fn fill(fresh: &NewSessionDraft, size: Size) {
    let connection = Database::connect(fresh.url()).await.expect("it is there");
    let backend = connection.get_database_backend();
    for sql in support::seated::fixtures(backend, size.seats, size.per_room, size.publications) {
        let filled = connection.execute_unprepared(&sql).await;
        filled.unwrap_or_else(|error| panic!("{error} in {sql}"));
    }
    connection.close().await.expect("nobody else uses it");
    assert_eq!(fresh.rooms().await, size.seats.div_ceil(size.per_room));
}

async fn start(
    fresh: &NewSessionDraft,
    folder: &tempfile::TempDir,
    after: &'static str,
    stop: Option<Duration>,
) -> (Daemon, Start) {
    let began = Instant::now();
    let settings = [
        ("database.url", fresh.url()),
        ("kind.table.seats", "8"),
        ("shutdown.timeout", "10m"),
    ];
    let daemon = Daemon::start(folder.path(), &settings).await;
    let give_up = Instant::now() + PATIENCE;
    while !daemon.log().contains("all rooms are live") {
        assert!(Instant::now() < give_up, "not live:\n{}", daemon.log());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let start = Start {
        after,
        ready: daemon.ready_after,
        live: began.elapsed(),
        stop,
    };
    (daemon, start)
}

/// Stops the daemon as planned. Returns the time that it took.
async fn stop(mut daemon: Daemon) -> Duration {
    let began = Instant::now();
    let told = Command::new("kill")
        .args(["-TERM", &daemon.child.id().to_string()])
        .status();
    assert!(told.expect("a system with kill").success());
    loop {
        if let Some(status) = daemon.child.try_wait().expect("our own child") {
            assert!(status.success(), "{status}:\n{}", daemon.log());
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "it does not stop");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn line(version: &str, size: Size, start: &Start) -> Value {
    let millis = |time: Duration| rounded(time.as_secs_f64() * 1000.0, 0);
    json!({
        "database": version,
        "seats": size.seats,
        "per_room": size.per_room,
        "publications": size.publications,
        "after": start.after,
        "ready_ms": millis(start.ready),
        "all_live_ms": millis(start.live),
        "stop_ms": start.stop.map(millis),
    })
}

fn show(lines: &[Value]) {
    let columns = [
        "database",
        "seats",
        "per_room",
        "publications",
        "after",
        "ready_ms",
        "all_live_ms",
        "stop_ms",
    ];
    eprintln!("| {} |", columns.join(" | "));
    eprintln!("|{}", "---|".repeat(columns.len()));
    for line in lines {
        let cells = columns.map(|column| {
            let value = &line[column];
            let number = || value.to_string();
            match value.is_null() {
                true => String::new(),
                false => value.as_str().map_or_else(number, str::to_owned),
            }
        });
        eprintln!("| {} |", cells.join(" | "));
    }
}

//! Durable creates (room, player, seat and session in one commit) by 256 callers: through the daemon's one writer,
//! with a transaction for each request, and through the writer with 1 % bad commands among the good ones.
//!
//! `cargo bench --bench create`; PostgreSQL is measured if `HOLDFAST_TEST_DATABASE_URL` names a server whose
//! user may create databases. `DATABASE=sqlite` or `DATABASE=postgres` measures one of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdfast::config::Config;
use holdfast::id::{RoomCode, UserId};
use holdfast::persistence::{
    Command, Committed, NewRoom, OpenRoom, Refused, RoomCommand, SessionWrite, UserWrite,
    WriteError,
};
use serde_json::json;

use support::direct::Direct;
use support::fresh::{NewSessionDraft, Server};
use support::hub::{Hub, new_guest, new_room, new_seat};
use support::machine::{facts, median, rounded};

mod support {
    pub(crate) mod code;
    pub(crate) mod direct;
    pub(crate) mod fresh;
    pub(crate) mod hub;
    pub(crate) mod machine;
}

const CALLERS: usize = 256;

/// Fills caches and connection pools before anything is counted.
const WARM_UP: Duration = Duration::from_millis(700);

const MEASURED_FOR: Duration = Duration::from_secs(3);

const ROUNDS: usize = 3;

/// One command in this many is bad.
const BAD_EVERY: u64 = 100;

/// Rates of one round, in creates per second.
#[derive(Debug)]
struct Round {
    grouped: f64,
    /// The rate for each pool size.
    direct: Vec<(u32, f64)>,
    with_bad: f64,
}

impl Round {
    fn best_direct(&self) -> f64 {
        self.direct
            .iter()
            .map(|(_, rate)| *rate)
            .fold(0.0, f64::max)
    }
}

#[tokio::main]
async fn main() {
    let wanted = std::env::var("DATABASE").unwrap_or_default();
    if wanted != "postgres" {
        measure(&Server::Sqlite, &[1], 8.0).await;
    }
    if wanted != "sqlite" {
        match std::env::var("HOLDFAST_TEST_DATABASE_URL") {
            Ok(url) => measure(&Server::Postgres(url), &[16, 48], 5.0).await,
            Err(_) => eprintln!("PostgreSQL skipped: HOLDFAST_TEST_DATABASE_URL is not set"),
        }
    }
}

async fn measure(server: &Server, pools: &[u32], goal: f64) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let grouped = grouped(server, false).await;
        let mut direct = Vec::new();
        for pool in pools {
            direct.push((*pool, one_by_one(server, *pool).await));
        }
        let with_bad = self::grouped(server, true).await;
        let round = Round {
            grouped,
            direct,
            with_bad,
        };
        eprintln!("{round:.0?}");
        rounds.push(round);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let direct = pools.iter().enumerate().map(|(index, pool)| {
        let rate = median(rounds.iter().map(|round| round.direct[index].1));
        (format!("pool_{pool}"), rounded(rate, 0).into())
    });
    let line = json!({
        "bench": "create",
        "database": server.version().await,
        "callers": CALLERS,
        "grouped_per_second": rounded(median(rounds.iter().map(|round| round.grouped)), 0),
        "one_by_one_per_second": direct.collect::<serde_json::Map<_, _>>(),
        "ratio": rounded(median(rounds.iter().map(|round| round.grouped / round.best_direct())), 2),
        "ratio_goal": goal,
        "bad_percent": 100 / BAD_EVERY,
        "with_bad_per_second": rounded(median(rounds.iter().map(|round| round.with_bad)), 0),
        "with_bad_share": rounded(median(rounds.iter().map(|round| round.with_bad / round.grouped)), 2),
        "with_bad_share_goal": 0.45,
        "machine": facts(folder.path()),
    });
    println!("{line}");
}

/// Returns the rate of good creates through the daemon's writer.
async fn grouped(server: &Server, is_bad_among: bool) -> f64 {
    let fresh = NewSessionDraft::make(server).await;
    let mut config = Config::default();
    config.database.url = fresh.url().into();
    let hub = Arc::new(Hub::start(&config).await);
    let taken = open_one(&hub).await;
    let (good, numbers) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
    let rate = rate_of({
        let (hub, good) = (Arc::clone(&hub), Arc::clone(&good));
        move || {
            let (hub, good) = (Arc::clone(&hub), Arc::clone(&good));
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            async move {
                if is_bad_among && number.is_multiple_of(BAD_EVERY) {
                    open_badly(&hub, taken, number).await;
                    return false;
                }
                let opened = hub.persistence.write(open_room(&hub)).await;
                assert!(matches!(opened, Ok(Committed::Player { .. })), "{opened:?}");
                good.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    })
    .await;
    let Ok(hub) = Arc::try_unwrap(hub) else {
        unreachable!("all callers have ended");
    };
    hub.stop().await;
    let stored = fresh.rooms().await;
    assert_eq!(
        stored,
        good.load(Ordering::Relaxed),
        "rooms stored and acknowledged"
    );
    fresh.remove().await;
    rate
}

/// Returns the rate of creates with a transaction each, through a pool of `pool` connections.
async fn one_by_one(server: &Server, pool: u32) -> f64 {
    let fresh = NewSessionDraft::make(server).await;
    let direct = Arc::new(Direct::open(&fresh, pool).await);
    let rate = rate_of({
        let direct = Arc::clone(&direct);
        move || {
            let direct = Arc::clone(&direct);
            async move {
                direct.create().await.expect("nothing is contended");
                true
            }
        }
    })
    .await;
    direct.close().await;
    fresh.remove().await;
    rate
}

/// Calls in a loop from all callers, and returns the rate of good calls per second.
async fn rate_of<F>(call: impl Fn() -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = bool> + Send,
{
    let counted = Arc::new(AtomicU64::new(0));
    let from = Instant::now() + WARM_UP;
    let until = from + MEASURED_FOR;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (call, counted) = (call.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                while Instant::now() < until {
                    let is_good = call().await;
                    let now = Instant::now();
                    if is_good && from <= now && now < until {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("every answer is right");
    }
    counted.load(Ordering::Relaxed) as f64 / MEASURED_FOR.as_secs_f64()
}

async fn open_one(hub: &Hub) -> RoomCode {
    let room = new_room("table");
    let code = room.code;
    let opened = hub.persistence.write(open(hub, room, new_guest())).await;
    opened.expect("an empty database");
    code
}

fn open_room(hub: &Hub) -> Command {
    open(hub, new_room("table"), new_guest())
}

/// Sends a room with a code that is taken, or one for a user that does not exist, in turn.
async fn open_badly(hub: &Hub, taken: RoomCode, number: u64) {
    let (command, refused) = if number.is_multiple_of(2 * BAD_EVERY) {
        let room = NewRoom {
            code: taken,
            ..new_room("table")
        };
        (open(hub, room, new_guest()), Refused::CodeTaken)
    } else {
        let user = UserWrite::Known(UserId::guest());
        (open(hub, new_room("table"), user), Refused::InvalidUser)
    };
    let answer = hub.persistence.write(command).await;
    assert_eq!(answer, Err(WriteError::Refused(refused)));
}

fn open(hub: &Hub, room: NewRoom, user: UserWrite) -> Command {
    RoomCommand::Open(Box::new(OpenRoom {
        room,
        user,
        session: SessionWrite::New(hub.new_session()),
        seat: new_seat(0),
        cost: 0,
    }))
    .into()
}

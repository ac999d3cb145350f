//! PostgreSQL behind a line that is slow, or cut at any byte.

use std::time::Duration;

use super::{Evening, Left};
use crate::support::{Daemon, Database, eventually};

/// What each line may carry follows from this number and the order in which lines are made.
const SEED: u64 = 0x5eed_0001;

/// Lines cut in one test: each is another place in a handshake, a statement, a COMMIT or an answer.
const CUTS: u64 = 60;

/// Another continent, over a bad line.
const SLOW: Duration = Duration::from_millis(40);

/// So slow that no group of commands is through within its deadline.
const TOO_SLOW: Duration = Duration::from_secs(1);

async fn evening() -> (Daemon, Evening) {
    let plan = Daemon::on(Database::Postgres).behind_proxy();
    let mut daemon = plan.start().await;
    let evening = Evening::begins(&mut daemon).await;
    (daemon, evening)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_cut_at_any_byte_loses_and_doubles_nothing() {
    let (mut daemon, evening) = evening().await;

    eprintln!("the seed is {SEED:#x}");
    daemon.database_line().cut_at_any_byte(SEED);
    eventually("lines are cut", async || {
        let cut = daemon.database_line().lines_cut_at_some_byte();
        (cut >= CUTS).then_some(()).ok_or(format!("{cut} so far"))
    })
    .await;

    daemon.database_line().comes_up();
    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_costs_time_and_nothing_else() {
    let (mut daemon, evening) = evening().await;

    daemon.database_line().delay(SLOW);
    evening.crowd.has_opened(evening.crowd.count() + 4).await;
    let health = daemon.get("/api/health").send().await;

    assert_eq!(health.status, 200, "{health:?}");
    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_too_slow_to_store_anything_stops_no_game() {
    let (mut daemon, mut evening) = evening().await;

    daemon.database_line().delay(TOO_SLOW);
    let symptom = "the database takes no writes";
    evening
        .goes_on_without(&daemon, Left::Nothing, symptom)
        .await;

    daemon.database_line().comes_up();
    evening.ends_well(&mut daemon).await;
}

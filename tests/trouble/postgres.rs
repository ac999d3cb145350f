//! PostgreSQL stopped, killed, restarted, frozen and read-only.

use std::time::Duration;

use tokio::time::sleep;

use super::{Evening, Left};
use crate::support::{Daemon, Database, Server};

/// As long as a virtual machine takes that is moved, or a disk that stalls: longer than any deadline.
const FROZEN_FOR: Duration = Duration::from_secs(10);

async fn evening() -> (Server, Daemon, Evening) {
    let server = Server::start().await;
    let plan = Daemon::on(Database::Postgres).on_server(&server);
    let mut daemon = plan.start().await;
    let evening = Evening::begins(&mut daemon).await;
    (server, daemon, evening)
}

/// The server has gone: everybody plays on without it, and all is well when it is back.
async fn is_waited_for(mut server: Server, mut daemon: Daemon, mut evening: Evening) {
    let symptom = "the writer's connection is replaced";
    evening
        .goes_on_without(&daemon, Left::Nothing, symptom)
        .await;

    server.start_again().await;
    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_was_stopped_at_once_is_waited_for() {
    let (mut server, daemon, evening) = evening().await;

    server.stop("immediate");

    is_waited_for(server, daemon, evening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_was_killed_is_waited_for() {
    let (mut server, daemon, evening) = evening().await;

    server.kill();

    is_waited_for(server, daemon, evening).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_restarts_costs_nobody_anything_that_was_acknowledged() {
    let (mut server, mut daemon, evening) = evening().await;

    for mode in ["fast", "immediate", "fast"] {
        server.stop(mode);
        server.start_again().await;
        evening.crowd.has_opened(evening.crowd.count() + 1).await;
    }

    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_freezes_for_ten_seconds_stops_no_game() {
    let (server, mut daemon, mut evening) = evening().await;

    let frozen = server.freeze();
    let symptom = "a read was not answered";
    let trouble = evening.goes_on_without(&daemon, Left::Nothing, symptom);
    tokio::join!(trouble, sleep(FROZEN_FOR));

    drop(frozen);
    evening.ends_well(&mut daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_turns_read_only_is_told_from_one_that_is_away() {
    let (server, mut daemon, mut evening) = evening().await;

    server
        .execute("ALTER SYSTEM SET default_transaction_read_only = on")
        .await;
    server.execute("SELECT pg_reload_conf()").await;
    let symptom = "in a read-only transaction";
    evening.goes_on_without(&daemon, Left::Reads, symptom).await;

    server
        .execute("ALTER SYSTEM RESET default_transaction_read_only")
        .await;
    server.execute("SELECT pg_reload_conf()").await;
    evening.ends_well(&mut daemon).await;
}

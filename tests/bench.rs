//! `holdfast bench`: what it measures, and what it says when it cannot.

use std::process::Output;

use serde_json::Value;

use crate::support::{Daemon, Database, on_both_databases, output, program};

on_both_databases!(a_hub_that_runs_is_measured_at_its_address);

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast");

async fn a_hub_that_runs_is_measured_at_its_address(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let hub = format!("--address {} --pid {}", daemon.address(), daemon.process());

    let created = measured(&format!("create {hub} --clients 4 --duration 2s")).await;
    let heard = measured(&format!(
        "rooms {hub} --rooms 2 --per-room 3 --rate 20 --duration 2s"
    ))
    .await;

    assert_eq!(created["bench"], "create");
    assert_eq!(created["refused"], 0, "{created}");
    assert!(number(&created["creates_per_second"]) > 0.0, "{created}");
    assert_all_was_heard(&heard);
    assert!(heard["hub_cpu_percent"].is_number(), "{heard}");
    assert!(number(&heard["hub_resident_kib"]) > 1_000.0, "{heard}");
}

#[tokio::test]
async fn players_in_rooms_hear_everything_at_set_times_and_as_fast_as_they_can() {
    for (how, protocol) in [
        ("--rate 40", "json"),
        ("--rate 0", "json"),
        ("--rate 0 --protobuf", "protobuf"),
    ] {
        let heard = measured(&format!(
            "rooms {how} --rooms 3 --per-room 2 --payload 100 --duration 2s"
        ))
        .await;

        assert_all_was_heard(&heard);
        assert_eq!(heard["bench"], "rooms");
        assert_eq!(heard["rooms"], 3);
        assert_eq!(heard["payload_bytes"], 100);
        assert_eq!(heard["protocol"], protocol);
    }
}

#[tokio::test]
async fn members_of_a_channel_hear_everything() {
    for how in ["--rate 20", "--rate 0", "--rate 20 --protobuf"] {
        let heard = measured(&format!("fanout {how} --clients 10 --duration 2s")).await;

        assert_all_was_heard(&heard);
        assert_eq!(heard["bench"], "fanout");
        assert_eq!(heard["clients"], 10);
    }
}

#[tokio::test]
async fn idle_players_cost_memory() {
    let idle = measured("idle --clients 64 --per-room 4").await;

    assert_eq!(idle["bench"], "idle");
    assert_eq!(idle["cut"], 0, "{idle}");
    assert!(number(&idle["kib_per_player"]) > 0.0, "{idle}");
    assert!(
        number(&idle["connected_kib"]) > number(&idle["empty_kib"]),
        "{idle}"
    );
}

#[tokio::test]
async fn a_hub_on_one_core_is_measured_on_one_core() {
    let heard = measured("rooms --rate 0 --rooms 40 --duration 2s --hub-cores 1").await;

    assert_all_was_heard(&heard);
    assert_eq!(heard["silent_rooms"], 0, "{heard}");
    assert_eq!(heard["hub_cores"], 1, "{heard}");
    assert!(number(&heard["delay_us"]["mean"]) > 0.0, "{heard}");
    assert!(number(&heard["p99_by_mean"]) > 0.0, "{heard}");
}

#[tokio::test]
async fn two_programs_are_compared_in_turn_with_an_interval() {
    let bench = "create --clients 2 --duration 200ms --warm-up 0s";
    let compare = format!("compare {PROGRAM} {PROGRAM} --pairs 3 --json -- {bench}");
    let compared = reported(&compare).await;

    assert_eq!(compared["pairs"], 3, "{compared}");
    assert_eq!(compared["benchmark"], bench, "{compared}");
    let figure = &compared["creates_per_second"];
    let [low, ratio, high] = ["low", "ratio", "high"].map(|key| number(&figure[key]));
    assert!(0.0 < low && low <= ratio && ratio <= high, "{compared}");
}

#[tokio::test]
async fn after_a_storm_everybody_is_back() {
    let storm = measured("storm --clients 24").await;

    assert_eq!(storm["bench"], "storm");
    assert_eq!(storm["same_seat"], 24, "{storm}");
    for key in ["other_seat", "refused", "missing"] {
        assert_eq!(storm[key], 0, "{storm}");
    }
    assert!(
        number(&storm["back_all_ms"]) >= number(&storm["back_50_ms"]),
        "{storm}"
    );
    assert_eq!(storm["resume_us"]["count"], 24, "{storm}");
}

#[tokio::test]
async fn a_hub_that_is_to_log_nothing_is_measured_all_the_same() {
    let created = measured("create --clients 2 --duration 200ms --set log.level=off").await;

    assert_eq!(created["refused"], 0, "{created}");
}

#[tokio::test]
async fn a_person_reads_a_table() {
    let output = bench("create --clients 2 --duration 200ms --warm-up 0s").await;

    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("bench create\n"), "{table}");
    assert!(table.contains("creates a second"), "{table}");
}

#[tokio::test]
async fn options_that_make_no_sense_are_usage_errors() {
    for (arguments, word) in [
        ("rooms --payload 3", "48..=60000"),
        ("rooms --rooms 0", "1..=25000"),
        ("rooms --rooms 20000", "160000 clients"),
        ("rooms --duration soon", "--duration"),
        ("fanout --in-flight 0", "1..=64"),
        ("storm --address 127.0.0.1:1", "--address"),
        ("create --pid 7", "--address"),
        ("idle --address 127.0.0.1:1 --set a=b", "--set"),
        ("idle --address 127.0.0.1:1 --hub-cores 1", "--hub-cores"),
        ("rooms --hub-cores 0", "1..=65535"),
        ("compare old new -- chess", "`chess` cannot be compared"),
    ] {
        refuses(arguments, 2, word).await;
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let without_guests = Daemon::on(Database::Sqlite)
        .set("auth.guests", "false")
        .start()
        .await;
    let (open, closed) = (daemon.address(), without_guests.address());

    refuses("rooms --address 127.0.0.1:1", 69, "no hub answers at 127").await;
    refuses("rooms --address nowhere.invalid:1", 69, "nowhere.invalid").await;
    for (arguments, word) in [
        ("rooms --kind chess", "no kind `chess`"),
        ("rooms --rooms 1 --per-room 9", "fewer than 9 seats"),
        ("fanout --clients 1 --kind hall", "no kind `hall`"),
        (
            "create --clients 1 --duration 200ms --kind chess",
            "UNKNOWN_KIND",
        ),
    ] {
        refuses(&format!("{arguments} --address {open}"), 1, word).await;
    }
    refuses(&format!("rooms --address {closed}"), 1, "refuses guests").await;
    refuses("create --set no.such=1", 1, "no.such").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn more_clients_than_file_descriptors_are_refused_beforehand() {
    let command = format!("ulimit -n 200; exec {PROGRAM} bench idle --clients 1000");
    let output = run("sh", vec!["-c".to_owned(), command]).await;

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ulimit -n 1100"), "{said}");
}

/// Runs a benchmark that succeeds, and reads its line of JSON.
async fn measured(arguments: &str) -> Value {
    reported(&format!("{arguments} --json")).await
}

/// The same of a benchmark whose arguments ask for that line.
async fn reported(arguments: &str) -> Value {
    let output = bench(arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {arguments}: {said}");
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    serde_json::from_str(&line).unwrap()
}

async fn refuses(arguments: &str, code: i32, word: &str) {
    let output = bench(arguments).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
    assert!(said.contains(word), "{arguments}: {said}");
    assert!(output.stdout.is_empty(), "{arguments}");
}

async fn bench(arguments: &str) -> Output {
    let arguments = ["bench"].into_iter().chain(arguments.split_whitespace());
    run(PROGRAM, arguments.map(str::to_owned).collect()).await
}

async fn run(name: &'static str, arguments: Vec<String>) -> Output {
    let run = move || output(program(name).args(arguments));
    tokio::task::spawn_blocking(run).await.unwrap().unwrap()
}

#[track_caller]
fn assert_all_was_heard(heard: &Value) {
    assert!(number(&heard["deliveries_per_second"]) > 0.0, "{heard}");
    assert!(number(&heard["delay_us"]["count"]) > 0.0, "{heard}");
    for key in ["lost", "refused", "cut"] {
        assert_eq!(heard[key], 0, "{key}: {heard}");
    }
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

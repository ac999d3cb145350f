//! What operators see of a daemon: figures that are right, and nobody's secrets.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use futures_util::future::join_all;
use holdfast::telemetry::FAMILIES;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Issuer, Metrics, Player, Request, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_players_do_is_in_the_metrics() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let ana = Player::opens(&daemon).await;
    let bo = Player::joins(&daemon, &ana.room).await;
    let (mut ana_client, mut bo_client) =
        (ana.sits_down(&daemon).await, bo.sits_down(&daemon).await);
    for (speaker, listener, word) in [(0, 1, 1), (1, 0, 2), (0, 1, 3), (1, 0, 4), (0, 1, 5)] {
        let clients = [&mut ana_client, &mut bo_client];
        clients[speaker]
            .publishes(&ana.channel, json!(word))
            .await
            .unwrap();
        let heard = clients[listener].hears_a_player(&ana.channel).await;
        clients[speaker].hears_a_player(&ana.channel).await;
        assert_eq!(heard["data"], word);
    }

    let metrics = daemon.metrics().await;

    check(
        &metrics,
        &[
            ("holdfast_connections", 2.0),
            ("holdfast_connections_opened_total", 2.0),
            ("holdfast_rooms", 1.0),
            ("holdfast_sessions{phase=\"attached\"}", 2.0),
            ("holdfast_sessions{phase=\"away\"}", 0.0),
            ("holdfast_seats{status=\"held\"}", 2.0),
            ("holdfast_seats{status=\"away\"}", 0.0),
            ("holdfast_messages_received_total{kind=\"connect\"}", 2.0),
            ("holdfast_messages_received_total{kind=\"subscribe\"}", 2.0),
            ("holdfast_messages_received_total{kind=\"publish\"}", 5.0),
            ("holdfast_resumes_total{outcome=\"resumed\"}", 2.0),
            ("holdfast_resumes_total{outcome=\"new\"}", 0.0),
            ("holdfast_outgoing_queue_messages", 0.0),
            ("holdfast_write_queue_depth", 0.0),
            ("holdfast_part_up{part=\"database\"}", 1.0),
            ("holdfast_part_up{part=\"writes\"}", 1.0),
        ],
    );
    // Beside the ten deliveries of players' words: the news that each heard of the other.
    let deliveries = metrics.value("holdfast_deliveries_total");
    assert!((10.0..=14.0).contains(&deliveries), "{deliveries}");
    for (series, least) in [
        ("holdfast_publications_total", 7.0),
        ("holdfast_delivery_duration_seconds_count", 1.0),
        ("holdfast_commits_total", 2.0),
        ("holdfast_commit_duration_seconds_count", 2.0),
        ("holdfast_messages_sent_total", 19.0),
        ("holdfast_bytes_sent_total", 500.0),
        ("holdfast_bytes_received_total", 300.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 5.0),
        ("process_threads", 2.0),
    ] {
        let value = metrics.value(series);
        assert!(value >= least, "{series} is {value}");
    }
}

/// Connects with a token; the code of the error or close, or 0.
async fn tries(daemon: &Daemon, token: &str) -> (u64, Value) {
    let mut client = Client::dial(daemon.address()).await;
    match client.connects(token).await {
        Ok(mut connected) => (0, connected["data"].take()),
        Err(refusal) => (refusal.code(), Value::Null),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_seats_and_of_all_tokens_is_counted() {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.hmac_secret", SECRET)
        .start()
        .await;
    let ana = Player::opens(&daemon).await;
    let game = Issuer::secret(Algorithm::HS256, SECRET);
    let late = game.signs(json!({ "sub": "u1", "exp": 1 }));
    let seat_token = |data: &Value| data["seats"][0]["token"].as_str().unwrap().to_owned();

    let (_, data) = tries(&daemon, &ana.token).await;
    let first = seat_token(&data);
    let (_, data) = tries(&daemon, &first).await;
    let second = seat_token(&data);
    let (_, data) = tries(&daemon, &second).await;
    let third = data["session"]["token"].as_str().unwrap().to_owned();
    assert_eq!(tries(&daemon, &first).await.0, 3500);
    assert_eq!(tries(&daemon, &late).await.0, 109);
    let (mut client, result) = Client::connect(daemon.address(), &third).await;
    let fourth = seat_token(&result["data"]);
    let room = json!({ "room": ana.room, "key": "leave" });
    for _ in 0..2 {
        client.calls("room.leave", room.clone()).await.unwrap();
    }
    assert_eq!(tries(&daemon, &fourth).await.0, 1007);
    let ended = daemon.delete("/v1/session").by(&third).send().await;
    assert_eq!(ended.status, 204);
    assert_eq!(tries(&daemon, &third).await.0, 4500);
    Player::opens_with(&daemon, json!({ "grace": 0 })).await;

    shows(
        &daemon,
        "holdfast_seats_released_total{reason=\"hold_over\"}",
        1.0,
    )
    .await;
    check(
        &daemon.metrics().await,
        &[
            ("holdfast_seat_tokens_confirmed_total", 2.0),
            ("holdfast_seat_tokens_refused_total{reason=\"reused\"}", 1.0),
            (
                "holdfast_seat_tokens_refused_total{reason=\"released\"}",
                1.0,
            ),
            ("holdfast_resumes_total{outcome=\"resumed\"}", 4.0),
            ("holdfast_resumes_total{outcome=\"token_invalid\"}", 1.0),
            ("holdfast_resumes_total{outcome=\"token_expired\"}", 1.0),
            ("holdfast_resumes_total{outcome=\"not_seated\"}", 1.0),
            ("holdfast_resumes_total{outcome=\"session_ended\"}", 1.0),
            ("holdfast_seats_released_total{reason=\"left\"}", 1.0),
            ("holdfast_commands_repeated_total", 1.0),
        ],
    );
    let signed = daemon.metric("holdfast_seat_tokens_signed_total").await;
    assert!(signed >= 6, "{signed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_and_comes_back_is_counted_by_how() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("auth.guests", "true")
        .start()
        .await;
    let ana = Player::opens(&daemon).await;
    let mut first = ana.sits_down(&daemon).await;
    let position = first.subscribes(&ana.channel).await;
    assert_eq!(position.unwrap_err().code(), 105);
    first.drops_the_line();
    shows(&daemon, "holdfast_seats{status=\"away\"}", 1.0).await;
    shows(&daemon, "holdfast_sessions{phase=\"away\"}", 1.0).await;
    shows(
        &daemon,
        "holdfast_connections_closed_total{reason=\"line_lost\"}",
        1.0,
    )
    .await;

    let mut second = ana.sits_down(&daemon).await;
    let (third, _) = ana.connects(&daemon).await;
    second.closed().await;
    let mut stranger = Client::dial(daemon.address()).await;
    let unknown = format!("hfs_{}", "A".repeat(43));
    let refused = stranger.connects(&unknown).await.unwrap_err();
    assert_eq!(refused.code(), 3500);
    let mut guest = Client::dial(daemon.address()).await;
    guest.asks("connect", json!({})).await.unwrap();
    daemon
        .delete("/v1/session")
        .by(&ana.token)
        .send()
        .await
        .expect(204);
    drop(third);

    shows(&daemon, "holdfast_seats{status=\"held\"}", 0.0).await;
    shows(
        &daemon,
        "holdfast_connections_closed_total{reason=\"session_ended\"}",
        1.0,
    )
    .await;
    check(
        &daemon.metrics().await,
        &[
            ("holdfast_resumes_total{outcome=\"resumed\"}", 3.0),
            ("holdfast_resumes_total{outcome=\"new\"}", 1.0),
            ("holdfast_resumes_total{outcome=\"token_invalid\"}", 1.0),
            (
                "holdfast_token_lookups_total{attempt=\"3\",outcome=\"missing\"}",
                1.0,
            ),
            ("holdfast_take_overs_total", 1.0),
            (
                "holdfast_connections_closed_total{reason=\"replaced\"}",
                1.0,
            ),
            (
                "holdfast_connections_closed_total{reason=\"invalid_token\"}",
                1.0,
            ),
            (
                "holdfast_seats_released_total{reason=\"session_ended\"}",
                1.0,
            ),
            ("holdfast_seats{status=\"away\"}", 0.0),
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rooms_add_no_series_and_nobodys_name() {
    let daemon = Daemon::on(Database::Sqlite).start().await;
    let fresh = names(&daemon.metrics().await);

    let daemon = &daemon;
    let playing = (0..200).map(|_| async move {
        let player = Player::opens(daemon).await;
        let mut client = player.sits_down(daemon).await;
        client
            .publishes(&player.channel, json!("hello"))
            .await
            .unwrap();
        client.hears_a_player(&player.channel).await;
        player
    });
    let players = join_all(playing).await;
    let metrics = daemon.metrics().await;

    assert_eq!(metrics.value("holdfast_rooms").round() as i64, 200);
    assert_eq!(names(&metrics), fresh);
    for player in &players {
        for secret in [&player.token, &player.session, &player.user, &player.room] {
            assert!(
                !metrics.0.contains(secret.as_str()),
                "{secret} is in {}",
                metrics.0
            );
        }
    }
    assert!(
        !metrics.0.contains("hfs_") && !metrics.0.contains("127.0.0.1"),
        "{}",
        metrics.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scraper_and_a_probe_need_no_token_and_are_shown_none() {
    let token = "an-operators-token-of-32-characters";
    let daemon = Daemon::on(Database::Sqlite)
        .set("admin.token", token)
        .start()
        .await;

    let ask = |path: &str| Request::new(daemon.admin(), "GET", path).send();
    let (scrape, probe) = (ask("/metrics").await, ask("/readyz").await);

    assert_eq!(scrape.status, 200);
    assert!(!scrape.text.contains(token));
    let parts = &probe.expect(200)["parts"];
    for part in [
        "database",
        "writes",
        "write_queue",
        "rooms",
        "sessions",
        "connections",
    ] {
        assert_eq!(parts[part], "ok", "{parts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_shows_part_by_part_until_it_is_back() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;

    daemon.database_line().goes_down();
    shows(&daemon, "holdfast_part_up{part=\"database\"}", 0.0).await;
    shows(&daemon, "holdfast_part_up{part=\"writes\"}", 0.0).await;
    let ready = daemon.get("/readyz").send().await.expect(200);
    let health = daemon.get("/api/health").send().await.expect(503);

    assert_eq!(ready["status"], "degraded");
    assert_eq!(health["database"], false);
    assert_eq!(health["parts"]["database"], "away");
    assert_eq!(health["parts"]["writes"], "failing");
    assert_eq!(health["parts"]["rooms"], "ok");

    daemon.database_line().comes_up();
    shows(&daemon, "holdfast_part_up{part=\"writes\"}", 1.0).await;
    shows(&daemon, "holdfast_part_up{part=\"database\"}", 1.0).await;
    daemon.get("/api/health").send().await.expect(200);
}

#[test]
fn the_manual_lists_every_metric_with_its_labels() {
    let mut table = "| name | labels | what |\n|---|---|---|\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| {
                let values: Vec<String> = label
                    .values
                    .iter()
                    .map(|value| format!("`{value}`"))
                    .collect();
                match label.name {
                    "version" | "route" => format!("`{}`", label.name),
                    name => format!("`{name}`: {}", values.join(", ")),
                }
            })
            .collect();
        writeln!(
            table,
            "| `{}` | {} | {} |",
            family.name,
            labels.join("; "),
            family.help
        )
        .unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let manual = fs::read_to_string(path).unwrap();
    assert!(
        manual.contains(&table),
        "docs/operations.md should have this table:\n{table}"
    );
}

#[test]
fn every_metric_in_the_code_is_one_of_these() {
    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut used = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (start, _) in text.match_indices("!(\"holdfast_") {
                let name = text[start + 3..].split('"').next().unwrap();
                assert!(known.contains(name), "{name} in {}", path.display());
                used.insert(name.to_owned());
            }
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, known, "some are shown and never counted");
}

#[track_caller]
fn check(metrics: &Metrics, expected: &[(&str, f64)]) {
    let found: Vec<(&str, f64)> = expected
        .iter()
        .map(|(series, _)| (*series, metrics.value(series)))
        .collect();
    assert_eq!(found, expected);
}

async fn shows(daemon: &Daemon, series: &str, expected: f64) {
    eventually(series, async || {
        let value = daemon.metrics().await.value(series);
        if value == expected {
            Ok(())
        } else {
            Err(format!("it is {value}"))
        }
    })
    .await;
}

fn names(metrics: &Metrics) -> BTreeSet<String> {
    metrics.series().map(|(name, _)| name.to_owned()).collect()
}

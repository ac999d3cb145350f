//! What has outlived its use goes; what lives, or may come back, stays.

use serde_json::json;

use crate::support::{Client, Daemon, Database, Player, eventually, on_both_databases};

on_both_databases!(
    what_is_over_goes_and_what_lives_stays,
    a_session_slides_on_while_it_is_connected,
    a_session_that_holds_a_seat_does_not_expire,
);

async fn what_is_over_goes_and_what_lives_stays(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "2s")
        .set("kind.duel.grace", "2s")
        .start()
        .await;
    let ana = Player::opens(&daemon).await;
    let bo = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let body = json!({ "guest": { "name": "Cy" } });
    let request = daemon.post("/v1/sessions", body);
    let key = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    let request = request.header("idempotency-key", key);
    let cy = request.send().await.expect(201);
    let cy_token = cy["session"]["token"].as_str().unwrap();
    let end = daemon.delete("/v1/session").by(&bo.token).send().await;
    assert_eq!(end.status, 204);

    // A day and a half goes by for what is over.
    daemon.kill();
    let close = "UPDATE rooms SET status = 'closed', closed_at = 1 WHERE kind = 'duel'";
    for sql in [
        close,
        "UPDATE app_sessions SET ended_at = 1 WHERE ended_at IS NOT NULL",
        "UPDATE commands SET created_at = 1",
        "UPDATE commit_groups SET created_at = 1",
    ] {
        daemon.store().execute(sql).await;
    }
    daemon.restart().await;
    let mut client = ana.sits_down(&daemon).await;
    eventually("a round is over", async || {
        let rounds = daemon.metric("holdfast_sweep_duration_seconds_count").await;
        (rounds > 0).then_some(()).ok_or("none yet".to_owned())
    })
    .await;

    let count = async |sql: &str| daemon.store().count(sql).await;
    assert_eq!(count("SELECT count(*) FROM app_sessions").await, 2);
    assert_eq!(count("SELECT count(*) FROM session_tokens").await, 2);
    assert_eq!(count("SELECT count(*) FROM users").await, 2);
    assert_eq!(count("SELECT count(*) FROM rooms").await, 1);
    assert_eq!(count("SELECT count(*) FROM event_participants").await, 1);
    assert_eq!(count("SELECT count(*) FROM commands").await, 0);
    let old = "SELECT count(*) FROM commit_groups WHERE created_at = 1";
    assert_eq!(count(old).await, 0);
    for table in ["app_sessions", "rooms", "commands", "users"] {
        let series = format!("holdfast_swept_rows_total{{table=\"{table}\"}}");
        assert_eq!(daemon.metric(&series).await, 1, "{table}");
    }
    let gone = daemon.get(&format!("/v1/rooms/{}", bo.room)).send().await;
    assert_eq!(gone.refusal(), (404, "ROOM_NOT_FOUND"));
    daemon
        .get("/v1/session")
        .by(cy_token)
        .send()
        .await
        .expect(200);
    let seats = client.calls("session.get", json!({})).await.unwrap();
    assert_eq!(seats["seats"][0]["room"], ana.room);
}

async fn a_session_slides_on_while_it_is_connected(database: Database) {
    let daemon = Daemon::on(database)
        .set("session.ttl", "8s")
        .set("kind.table.grace", "2s")
        .set("kind.duel.grace", "2s")
        .start()
        .await;
    let body = json!({ "guest": { "name": "Ana" } });
    let opened = daemon.post("/v1/sessions", body).send().await.expect(201);
    let token = opened["session"]["token"].as_str().unwrap();
    let (_client, _) = Client::connect(daemon.address(), token).await;
    let expires = "SELECT max(expires_at) FROM app_sessions";
    let at_first = daemon.store().count(expires).await;

    // Nobody comes or goes, and yet it lasts longer than its whole life.
    eventually("its life slides on", async || {
        let now = daemon.store().count(expires).await;
        let by = now - at_first;
        (by > 8_000)
            .then_some(())
            .ok_or(format!("by {by} ms so far"))
    })
    .await;
    daemon.get("/v1/session").by(token).send().await.expect(200);
}

async fn a_session_that_holds_a_seat_does_not_expire(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let seated = Player::opens(&daemon).await;
    let body = json!({ "guest": { "name": "Bo" } });
    let idle = daemon.post("/v1/sessions", body).send().await.expect(201);

    daemon.kill();
    let expire = "UPDATE app_sessions SET expires_at = 1";
    daemon.store().execute(expire).await;
    daemon.restart().await;

    let (_client, data) = seated.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], seated.room);
    let token = idle["session"]["token"].as_str().unwrap();
    let refused = daemon.get("/v1/session").by(token).send().await;
    assert_eq!(refused.refusal(), (401, "TOKEN_INVALID"));
}

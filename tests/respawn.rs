//! `serve --dev --respawn`: a hub to try things with, which is there again after it was killed.

use crate::support::{Answer, Daemon, Database, Player, Request, eventually};

/// What the playground's button does, from a page of this origin.
fn kill_from(daemon: &Daemon, origin: &str) -> Request {
    let request = Request::new(daemon.address(), "POST", "/dev/kill");
    request.header("origin", origin)
}

async fn is_killed(daemon: &Daemon) {
    let before = starts(daemon);
    let own = format!("http://{}", daemon.address());
    kill_from(daemon, &own).send().await.expect(202);
    eventually("the hub is ready again", async || {
        let answer = daemon.get("/readyz").try_send().await?;
        let is_another = starts(daemon) > before && answer.status == 200;
        is_another.then_some(()).ok_or(format!("{answer:?}"))
    })
    .await;
}

/// How often the hub has become ready so far.
fn starts(daemon: &Daemon) -> usize {
    daemon.log().matches("\"event\":\"ready\"").count()
}

#[tokio::test]
async fn a_killed_hub_is_started_again_and_its_players_sit_where_they_sat() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;
    let before = daemon.process();

    is_killed(&daemon).await;
    is_killed(&daemon).await;

    client.closed().await;
    let (_, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
    assert_eq!(data["seats"][0]["seat"].as_u64(), player.seat);
    assert_eq!(daemon.log().matches("\"signal\":9").count(), 2);
    assert_eq!(daemon.process(), before, "the parent stays");
    assert_eq!(daemon.stop().await.code(), Some(0));
    let log = daemon.log();
    assert!(log.contains("\"message\":\"stopped\""), "{log}");
}

#[tokio::test]
async fn only_the_playground_may_have_it_killed_and_only_where_it_comes_back() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let refused = |answer: Answer| assert_eq!(answer.refusal(), (403, "PERMISSION_DENIED"));

    refused(daemon.post("/dev/kill", ().into()).send().await);
    for origin in ["null", "https://evil.example", "http://127.0.0.1:1"] {
        refused(kill_from(&daemon, origin).send().await);
    }
    assert!(daemon.get("/").send().await.text.contains("data-can-kill"));
    assert_eq!(starts(&daemon), 1);
    daemon.stop().await;

    let daemon = Daemon::on(Database::Sqlite).start().await;
    let own = format!("http://{}", daemon.address());
    assert_eq!(
        kill_from(&daemon, &own).send().await.refusal(),
        (404, "NOT_FOUND")
    );
    assert!(!daemon.get("/").send().await.text.contains("data-can-kill"));
}

#[tokio::test]
async fn a_hub_whose_parent_is_killed_stops_as_planned() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;

    daemon.kill();

    assert_eq!(client.closed().await.0, 3001);
    eventually("the hub has stopped", async || {
        let log = daemon.log();
        let has_stopped = log.contains("\"message\":\"stopped\"");
        has_stopped.then_some(()).ok_or(log)
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_cannot_start_ends_its_parent_with_the_same_code() {
    let mut daemon = Daemon::on(Database::Sqlite).respawned().start().await;

    let code = daemon.starts_a_second().await;

    assert_eq!(code, Some(69));
    daemon.stop().await;
}

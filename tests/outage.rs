//! What the database's failures look like from outside: through a proxy before PostgreSQL.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Daemon, Database, Player, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_neither_doubled_nor_told_wrongly() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;

    for round in 1..=10 {
        daemon.database_line().cut_the_next_answer_to(b"COMMIT");
        let player = Player::opens(&daemon).await;
        let (_client, data) = player.connects(&daemon).await;

        assert_eq!(data["seats"][0]["room"], player.room);
        for table in ["rooms", "room_seats", "app_sessions", "users"] {
            let sql = format!("SELECT count(*) FROM {table}");
            assert_eq!(daemon.store().count(&sql).await, round, "{table}");
        }
    }
    assert_eq!(daemon.database_line().answers_cut(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_play_on_while_the_database_is_away_and_seats_are_sold_again_after() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut speaker = host.sits_down(&daemon).await;
    let mut listener = guest.sits_down(&daemon).await;

    daemon.database_line().goes_down();
    speaker.publishes(&host.channel, json!("on")).await.unwrap();
    let heard = listener.hears_a_player(&host.channel).await;
    let refused = Player::tries_to_join(&daemon, &host.room, json!({})).await;
    let health = daemon.get("/api/health").send().await;
    let ready = daemon.get("/readyz").send().await;
    let (_again, data) = guest.connects(&daemon).await;

    assert_eq!(heard["data"], "on");
    assert_eq!(refused.refusal(), (503, "UNAVAILABLE"));
    assert!(refused.body["retry_after"].is_number(), "{refused:?}");
    assert_eq!((health.status, ready.status), (503, 200));
    assert_eq!(health.body["database"], false);
    assert_eq!(data["seats"][0]["status"], "held");

    daemon.database_line().comes_up();
    seats_are_sold_again(&daemon, &host).await;
}

async fn seats_are_sold_again(daemon: &Daemon, host: &Player) {
    eventually("seats are sold again", async || {
        let answer = Player::tries_to_join(daemon, &host.room, json!({})).await;
        let is_sold = answer.status == 200;
        is_sold.then_some(()).ok_or(format!("{answer:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_database_delays_nobody_beyond_the_deadline() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;
    let host = Player::opens(&daemon).await;

    daemon.database_line().goes_silent();
    let refused = Player::tries_to_join(&daemon, &host.room, json!({})).await;
    daemon.database_line().comes_up();

    assert_eq!(refused.refusal(), (503, "UNAVAILABLE"));
    seats_are_sold_again(&daemon, &host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distant_database_whose_line_is_cut_now_and_then_costs_only_time() {
    let daemon = Daemon::on(Database::Postgres).behind_proxy().start().await;
    daemon.database_line().delay(Duration::from_millis(20));

    for _ in 0..3 {
        let creating = join_all((0..32).map(|_| Player::opens(&daemon)));
        let cutting = async {
            Player::opens(&daemon).await;
            daemon.database_line().cut();
        };
        let (players, ()) = tokio::join!(creating, cutting);

        for player in &players {
            player.connects(&daemon).await;
        }
    }
    let sql = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(sql).await, 3 * 33);
}

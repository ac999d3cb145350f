//! A seat whose change cannot be written, or whose row is not as its room knows it: it is kept or given up as
//! promised, and nobody else in the room notices.

use serde_json::json;
use tokio::time::timeout;

use crate::support::{Client, Daemon, Database, PATIENCE, Player, eventually, on_both_databases};

on_both_databases!(
    a_player_who_goes_while_a_leave_cannot_be_written_keeps_the_seat_no_longer_than_its_hold,
    a_player_who_comes_while_a_leave_cannot_be_written_has_the_seat,
    a_hold_that_ends_while_a_leave_cannot_be_written_ends_the_seat,
    a_seat_whose_row_misses_its_absence_is_released_and_nobody_else_notices,
    a_seat_whose_row_is_gone_is_released_and_nobody_else_notices,
);

/// Writes are refused this soon, so that a test need not wait long.
const DEADLINE: &str = "300ms";

/// A daemon on which holds are short.
async fn daemon(database: Database) -> Daemon {
    Daemon::on(database)
        .set("kind.table.grace", "3s")
        .set("persistence.deadline", DEADLINE)
        .start()
        .await
}

async fn seat_is(daemon: &Daemon, player: &Player, status: &str) {
    eventually(&format!("the seat is {status}"), async || {
        let seat = player.seat_in_room(daemon).await;
        let is_so = seat["status"] == status;
        is_so.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

/// Asks to leave, and returns when the room is at it: it says so to whoever asks a second time.
async fn begins_to_leave(client: &mut Client, player: &Player) {
    let leave = json!({ "method": "room.leave", "data": { "room": player.room } });
    client.says("rpc", leave.clone()).await;
    let second = client.says("rpc", leave).await;
    let refused = client.reply(second, "rpc").await.unwrap_err();
    assert_eq!(refused.code(), 100);
}

async fn the_leave_is_refused(daemon: &Daemon) {
    let refused = "holdfast_writes_refused_total{reason=\"deadline\"}";
    eventually("the leave is refused", async || {
        let count = daemon.metric(refused).await;
        (count >= 1).then_some(()).ok_or(count.to_string())
    })
    .await;
}

async fn a_player_who_goes_while_a_leave_cannot_be_written_keeps_the_seat_no_longer_than_its_hold(
    database: Database,
) {
    let daemon = daemon(database).await;
    let player = Player::opens(&daemon).await;
    let watcher = Player::joins(&daemon, &player.room).await;
    let mut watching = watcher.sits_down(&daemon).await;
    let mut client = player.sits_down(&daemon).await;

    let stall = daemon.store().stall().await;
    begins_to_leave(&mut client, &player).await;
    client.drops_the_line();
    the_leave_is_refused(&daemon).await;
    stall.end().await;

    let away = watching.hears_news(&player.channel, "seat.away").await;
    assert_eq!(away["user"]["id"], player.user);
    seat_is(&daemon, &player, "empty").await;
    let left = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(left).await, 1);
}

async fn a_player_who_comes_while_a_leave_cannot_be_written_has_the_seat(database: Database) {
    let daemon = daemon(database).await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;

    let other = Player::opens(&daemon).await;
    let mut others_client = other.sits_down(&daemon).await;

    let stall = daemon.store().stall().await;
    // The writer is busy with another leave, so that this one is refused as soon as its deadline has passed.
    begins_to_leave(&mut others_client, &other).await;
    eventually("the writer is busy", async || {
        let waiting = daemon.metric("holdfast_write_queue_depth").await;
        (waiting == 0).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    begins_to_leave(&mut client, &player).await;
    // Its answer waits until it is known what becomes of the leave.
    let (_client, data) = player.connects(&daemon).await;
    stall.end().await;

    assert_eq!(data["seats"][0]["room"], player.room);
    assert_eq!(data["seats"][0]["status"], "held");
    assert_eq!(player.seat_in_room(&daemon).await["status"], "held");
}

async fn a_hold_that_ends_while_a_leave_cannot_be_written_ends_the_seat(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.grace", "1s")
        .set("persistence.deadline", "2s")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;

    let stall = daemon.store().stall().await;
    begins_to_leave(&mut client, &player).await;
    client.drops_the_line();
    the_leave_is_refused(&daemon).await;
    stall.end().await;

    seat_is(&daemon, &player, "empty").await;
}

/// Somebody who plays on in the room of the seat in question, and whose stream must go on.
async fn plays_on(daemon: &Daemon, watcher: &Player, watching: &mut Client) {
    let said = watching.publishes(&watcher.channel, json!("still here"));
    timeout(PATIENCE, said).await.unwrap().unwrap();
    assert!(watching.is_open());
    let restarts = daemon.metrics().await;
    assert_eq!(restarts.sum("holdfast_actor_restarts_total"), 0.0);
    assert_eq!(watcher.seat_in_room(daemon).await["status"], "held");
}

async fn a_seat_whose_row_misses_its_absence_is_released_and_nobody_else_notices(
    database: Database,
) {
    let daemon = daemon(database).await;
    let watcher = Player::opens(&daemon).await;
    let mut watching = watcher.sits_down(&daemon).await;
    let player = Player::joins(&daemon, &watcher.room).await;

    let sql = format!(
        "UPDATE room_seats SET status = 'held', hold_until = NULL, away_since = NULL WHERE user_id = '{}'",
        player.user
    );
    daemon.store().execute(&sql).await;

    let released = watching.hears_news(&player.channel, "seat.released").await;
    assert_eq!(released["user"]["id"], player.user);
    assert_eq!(released["reason"], "hold_over");
    plays_on(&daemon, &watcher, &mut watching).await;
    assert!(daemon.metric("holdfast_seats_corrected_total").await >= 1);
}

async fn a_seat_whose_row_is_gone_is_released_and_nobody_else_notices(database: Database) {
    let daemon = daemon(database).await;
    let watcher = Player::opens(&daemon).await;
    let mut watching = watcher.sits_down(&daemon).await;
    let player = Player::joins(&daemon, &watcher.room).await;

    let sql = format!("DELETE FROM room_seats WHERE user_id = '{}'", player.user);
    daemon.store().execute(&sql).await;

    let released = watching.hears_news(&player.channel, "seat.released").await;
    assert_eq!(released["user"]["id"], player.user);
    plays_on(&daemon, &watcher, &mut watching).await;
    // The seat is anybody's again.
    eventually("another player gets the seat", async || {
        let wish = json!({ "seat": player.seat });
        let answer = Player::tries_to_join(&daemon, &player.room, wish).await;
        (answer.status == 200).then_some(()).ok_or(answer.text)
    })
    .await;
}

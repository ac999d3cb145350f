//! What `kill -9` leaves behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Daemon, Database, Player, Request, eventually, on_both_databases, repeated};

on_both_databases!(
    what_was_acknowledged_is_there_after_a_crash_and_the_rest_is_whole_or_absent,
    a_client_that_hangs_up_in_its_create_leaves_no_seat_for_ever,
    a_hold_does_not_run_while_the_daemon_is_down,
    a_seat_held_at_the_crash_is_away_with_its_full_hold,
    a_hold_that_nobody_comes_back_for_ends_after_the_crash,
    a_released_seat_stays_released_after_a_crash,
    a_memory_history_gets_a_new_epoch_by_a_crash,
);

on_both_databases!(a_planned_stop_turns_nobody_away_and_keeps_the_history);

/// Creates that are under way when the daemon is killed.
const CALLERS: usize = 64;

/// Creates that have been answered when the daemon is killed: all callers are in full swing.
const ANSWERS_BEFORE_THE_KILL: usize = 150;

/// The most that can be left of a hold of 60 s: it counts from the last heartbeat, which may have been
/// written 3 s before the hold began.
const LEFT_MAX: u64 = 64;

async fn what_was_acknowledged_is_there_after_a_crash_and_the_rest_is_whole_or_absent(
    database: Database,
) {
    let mut daemon = Daemon::on(database).start().await;
    let mut created = 0;

    for _ in 0..repeated(3, 10) {
        let acknowledged = creates_until_killed(&mut daemon).await;
        daemon.restart().await;

        assert!(acknowledged.len() >= ANSWERS_BEFORE_THE_KILL);
        created += acknowledged.len();
        for player in &acknowledged {
            let (_client, data) = player.connects(&daemon).await;
            assert_eq!(data["session"]["id"], player.session);
            assert_eq!(data["seats"][0]["room"], player.room);
            assert_eq!(
                player.seat_in_room(&daemon).await["user"]["id"],
                player.user
            );
        }
        let stored = creates_stored_whole(&daemon).await;
        assert!(stored >= created, "{stored} of {created} are left");
    }
}

/// Callers create rooms as fast as they are answered, until `kill -9`; returns what was answered.
async fn creates_until_killed(daemon: &mut Daemon) -> Vec<Player> {
    let answered = AtomicUsize::new(0);
    let address = daemon.address();
    let body = json!({ "guest": { "name": "Ana" } });
    let callers = join_all((0..CALLERS).map(|_| async {
        let mut players = Vec::new();
        loop {
            let request = Request::new(address, "POST", "/v1/rooms").json(&body);
            let Ok(answer) = request.try_send().await else {
                return players;
            };
            players.push(Player::from(&answer.expect(201)));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let killer = async {
        eventually("creates are answered", async || {
            let count = answered.load(Ordering::Relaxed);
            let are_enough = count >= ANSWERS_BEFORE_THE_KILL;
            are_enough.then_some(()).ok_or(format!("{count} so far"))
        })
        .await;
        daemon.kill();
    };
    let (players, ()) = tokio::join!(callers, killer);
    players.concat()
}

/// How many creates there were, each of which makes one row in each of these tables.
async fn creates_stored_whole(daemon: &Daemon) -> usize {
    let rooms = daemon.store().count("SELECT count(*) FROM rooms").await;
    for table in ["room_seats", "app_sessions", "session_tokens", "users"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(daemon.store().count(&sql).await, rooms, "{table}");
    }
    usize::try_from(rooms).unwrap()
}

async fn a_client_that_hangs_up_in_its_create_leaves_no_seat_for_ever(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.grace", "2s")
        .start()
        .await;

    let stall = daemon.store().stall().await;
    // A client that is gone before the daemon has read its request has asked for nothing.
    eventually("creates wait to be written", async || {
        let body = json!({ "guest": { "name": "Ana" } });
        daemon.post("/v1/rooms", body).send_and_hang_up().await;
        let waiting = daemon.metric("holdfast_write_queue_depth").await;
        (waiting > 0).then_some(()).ok_or("none waits".to_owned())
    })
    .await;
    let rooms = daemon.store().count("SELECT count(*) FROM rooms").await;
    assert_eq!(
        rooms, 0,
        "their clients were gone before anything was stored"
    );
    stall.end().await;
    let code = eventually("what they asked for is done", async || {
        let code = daemon.store().text("SELECT code FROM rooms").await;
        code.ok_or_else(|| "no room".to_owned())
    })
    .await;

    // Looked up past the daemon, which would start a room that is asked for.
    eventually("no seat is left", async || {
        let sql = "SELECT count(*) FROM room_seats";
        let count = daemon.store().count(sql).await;
        (count == 0).then_some(()).ok_or(format!("{count} seats"))
    })
    .await;
    assert_eq!(daemon.room(&code).await["seats"][0]["status"], "empty");
}

async fn seat_gets(daemon: &Daemon, code: &str, status: &str) {
    eventually(&format!("seat 0 is {status}"), async || {
        let seat = daemon.room(code).await["seats"][0].take();
        let is_so = seat["status"] == status;
        is_so.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

/// Waits until the room's seats are stored as away: the mark is written up to a second later.
async fn seats_are_stored_as_away(daemon: &Daemon) {
    eventually("the seat is stored as away", async || {
        let sql = "SELECT count(*) FROM room_seats WHERE status = 'held'";
        let held = daemon.store().count(sql).await;
        (held == 0).then_some(()).ok_or(format!("{held} are held"))
    })
    .await;
}

async fn own_seat(daemon: &Daemon, player: &Player) -> Value {
    let request = daemon.get("/v1/session").by(&player.token);
    request.send().await.expect(200)["seats"][0].clone()
}

async fn a_hold_does_not_run_while_the_daemon_is_down(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "60s")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    player.sits_down(&daemon).await.drops_the_line();
    seat_gets(&daemon, &player.room, "away").await;
    seats_are_stored_as_away(&daemon).await;

    daemon.kill();
    daemon.store().stay_down_for(Duration::from_secs(90)).await;
    daemon.restart().await;

    let seat = own_seat(&daemon, &player).await;
    assert_eq!(seat["status"], "away");
    let left = seat["hold_seconds"].as_u64().unwrap();
    assert!((30..=LEFT_MAX).contains(&left), "{left} s are left");
    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["seat"], player.seat.unwrap());
    assert_eq!(data["seats"][0]["status"], "held");
    assert_eq!(data["seats"][0]["hold_seconds"], 60);
}

async fn a_seat_held_at_the_crash_is_away_with_its_full_hold(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "60s")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;
    seat_gets(&daemon, &player.room, "held").await;

    daemon.kill();
    assert_eq!(client.closed().await.0, 1006);
    daemon.store().stay_down_for(Duration::from_secs(90)).await;
    daemon.restart().await;

    let seat = own_seat(&daemon, &player).await;
    assert_eq!(seat["status"], "away");
    let left = seat["hold_seconds"].as_u64().unwrap();
    assert!((50..=LEFT_MAX).contains(&left), "{left} s are left");
}

async fn a_hold_that_nobody_comes_back_for_ends_after_the_crash(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "2s")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let client = player.sits_down(&daemon).await;

    daemon.kill();
    drop(client);
    daemon.restart().await;

    assert_eq!(own_seat(&daemon, &player).await["status"], "away");
    seat_gets(&daemon, &player.room, "empty").await;
    assert_eq!(own_seat(&daemon, &player).await, Value::Null);
}

async fn a_released_seat_stays_released_after_a_crash(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    let other = Player::joins(&daemon, &player.room).await;
    let mut client = player.sits_down(&daemon).await;
    let room = json!({ "room": player.room });
    client.calls("seat.release", room).await.unwrap();

    daemon.kill();
    daemon.restart().await;

    let room = daemon.room(&player.room).await;
    assert_eq!(room["seats"][0]["status"], "empty");
    assert_eq!(room["seats"][1]["user"]["id"], other.user);
    assert_eq!(own_seat(&daemon, &player).await, Value::Null);
}

async fn a_memory_history_gets_a_new_epoch_by_a_crash(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    let (mut client, _) = player.connects(&daemon).await;
    let before = client.subscribes(&player.channel).await.unwrap();
    client
        .publishes(&player.channel, json!("move"))
        .await
        .unwrap();
    let offset = client.hears_a_player(&player.channel).await["offset"].clone();

    daemon.kill();
    daemon.restart().await;

    let (mut client, _) = player.connects(&daemon).await;
    let epoch = before["epoch"].as_str().unwrap();
    let after = client.recovers(&player.channel, epoch, offset.as_u64().unwrap());
    let after = after.await.unwrap();
    assert_eq!(after["was_recovering"], true);
    assert_eq!(after.get("recovered"), None, "{after}");
    assert_eq!(after.get("publications"), None, "{after}");
    assert_ne!(after["epoch"], before["epoch"]);
}

async fn a_planned_stop_turns_nobody_away_and_keeps_the_history(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    let (mut client, _) = player.connects(&daemon).await;
    let before = client.subscribes(&player.channel).await.unwrap();
    let epoch = before["epoch"].as_str().unwrap();
    let offset = before["offset"].as_u64().unwrap_or(0);
    let said = json!("move");
    client
        .publishes(&player.channel, said.clone())
        .await
        .unwrap();

    let status = daemon.stop().await;
    assert_eq!(client.closed().await.0, 3001);
    daemon.restart().await;

    assert_eq!(status.code(), Some(0));
    let (mut client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["status"], "held");
    let after = client
        .recovers(&player.channel, epoch, offset)
        .await
        .unwrap();
    assert_eq!(after["recovered"], true, "{after}");
    let missed = after["publications"].as_array().unwrap();
    assert_eq!(missed[0]["data"], said, "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_daemon_was_committing_is_over_before_the_next_one_is_ready() {
    let mut daemon = Daemon::on(Database::Postgres).start().await;
    // A COMMIT that takes its time, as on a disk that stalls.
    let stalls = "CREATE FUNCTION stalls() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(4.5); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER stalls AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION stalls()";
    daemon.store().execute(stalls).await;
    let opens = daemon.post("/v1/rooms", json!({ "guest": { "name": "Ana" } }));
    let opens = tokio::spawn(async move { opens.try_send().await });
    let committing = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'active' AND query = 'COMMIT'";
    eventually("the COMMIT is under way", async || {
        let count = daemon.store().count(committing).await;
        (count == 1).then_some(()).ok_or(format!("{count}"))
    })
    .await;

    daemon.kill();
    daemon.restart().await;

    assert_eq!(daemon.store().count(committing).await, 0);
    assert!(opens.await.unwrap().is_err());
    let seats = "SELECT count(*) FROM room_seats";
    let live = daemon.metric("holdfast_seats{status=\"away\"}").await;
    assert_eq!(u64::try_from(daemon.store().count(seats).await), Ok(live));
}

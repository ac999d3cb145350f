//! What is told when the database, the line to it or the writer fails.

use std::time::Duration;

use futures_util::future::join_all;
use holdfast::id::UserId;
use holdfast::persistence::{
    Committed, PersistenceActor, ReadError, Refused, UserWrite, WriteError,
};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use tokio::time::{Instant, sleep, timeout};

use super::database::{Database, Hub, PATIENCE};
use super::on_both;
use super::proxy::{Fate, Proxy};
use super::vocabulary::{Player, Room};

/// The writer waits 10 s before it cuts a silent connection.
const FROZEN_PATIENCE: Duration = Duration::from_secs(18);

/// Far more than any cut takes: what has not come by then never comes.
const STUCK: Duration = Duration::from_secs(120);

on_both!(
    a_full_queue_answers_at_once,
    a_command_that_was_not_taken_by_its_deadline_is_refused_for_good,
    a_look_up_that_could_not_be_made_is_not_a_missing_token,
    a_writer_that_is_started_again_goes_on_with_the_same_handles,
    what_is_written_after_the_drain_is_refused,
);

fn is_unavailable(answer: &Result<Committed, WriteError>) -> bool {
    matches!(
        answer,
        Err(WriteError::Refused(Refused::Unavailable { .. }))
    )
}

async fn a_full_queue_answers_at_once(mut database: Database) {
    database.config.persistence.queue_max = 4;
    database.config.persistence.batch_max = 4;
    let hub = database.start().await;
    let stalled = database.stall().await;
    let started = Instant::now();
    let (tell, mut told) = tokio::sync::mpsc::channel(64);
    for _ in 0..64 {
        let tell = tell.clone();
        hub.persistence
            .write_then(Player::new().opens_session(), move |answer| {
                tell.try_send((answer, started.elapsed())).unwrap();
            });
    }
    drop(tell);

    let first = told.recv().await.unwrap();
    stalled.rollback().await.unwrap();
    let mut answers = vec![first];
    while let Some(answer) = told.recv().await {
        answers.push(answer);
    }

    assert_eq!(answers.len(), 64);
    let (refused, took) = &answers[0];
    assert!(is_unavailable(refused), "{refused:?}");
    assert!(*took < Duration::from_millis(500), "{took:?}");
    let stored = answers.iter().filter(|(answer, _)| answer.is_ok()).count();
    // A queue and a group in each of at most two lanes.
    assert!((4..=16).contains(&stored), "{stored}");
    let sessions = database.count("app_sessions").await;
    assert_eq!(usize::try_from(sessions), Ok(stored));
}

async fn a_command_that_was_not_taken_by_its_deadline_is_refused_for_good(mut database: Database) {
    database.config.persistence.deadline = Duration::from_millis(300);
    let hub = database.start().await;
    let stalled = database.stall().await;
    let (taken, waiting) = (Player::new(), Player::new());
    let first = tokio::spawn({
        let (persistence, command) = (hub.persistence.clone(), taken.opens_session());
        async move { persistence.write(command).await }
    });
    sleep(Duration::from_millis(100)).await;

    let answer = timeout(PATIENCE, hub.persistence.write(waiting.opens_session())).await;

    assert!(is_unavailable(&answer.unwrap()));
    stalled.rollback().await.unwrap();
    let first = first.await.unwrap();
    let truth = hub.persistence.session_truth(waiting.session).await;
    assert!(truth.unwrap().is_none());
    let truth = hub.persistence.session_truth(taken.session).await;
    assert_eq!(truth.unwrap().is_some(), first.is_ok(), "{first:?}");
}

async fn a_look_up_that_could_not_be_made_is_not_a_missing_token(database: Database) {
    let hub = database.start().await;
    let player = Player::new();
    hub.persistence.write(player.opens_session()).await.unwrap();
    database
        .sql("ALTER TABLE session_tokens RENAME TO out_of_reach")
        .await;

    let hash = player.token.hash();
    let found = hub.persistence.session_by_token(hash, "").await;

    assert!(found.is_err(), "{found:?}");
}

async fn a_writer_that_is_started_again_goes_on_with_the_same_handles(database: Database) {
    let hub = database.start().await;
    let stalled = database.stall().await;
    let (lost, room) = (Player::new(), Room::new());
    let write = tokio::spawn({
        let (persistence, command) = (hub.persistence.clone(), lost.opens(&room));
        async move { persistence.write(command).await }
    });
    sleep(Duration::from_millis(100)).await;

    hub.writer.kill();
    let answer = timeout(PATIENCE, write).await.unwrap().unwrap();
    let meanwhile = hub.persistence.write(Player::new().opens_session()).await;
    PersistenceActor::start(&hub.store, hub.supervisor.clone())
        .await
        .unwrap();
    stalled.rollback().await.unwrap();
    let truth = hub.persistence.room_truth(room.code).await.unwrap();
    let again = hub.persistence.write(lost.opens(&room)).await;

    assert_eq!(answer, Err(WriteError::Lost));
    assert!(meanwhile.is_err(), "{meanwhile:?}");
    // What was lost was stored after all, as the truth said before it was tried again.
    assert!(truth.is_some());
    assert_eq!(again, Err(WriteError::Refused(Refused::CodeTaken)));
    hub.persistence
        .write(Player::new().opens(&Room::new()))
        .await
        .unwrap();
}

async fn what_is_written_after_the_drain_is_refused(database: Database) {
    let hub = database.start().await;
    let player = Player::new();
    let write = hub.persistence.write(player.opens_session());
    let (answer, ()) = tokio::join!(write, hub.persistence.drain());

    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(database.count("app_sessions").await, 1);
    let late = hub.persistence.write(Player::new().opens_session()).await;
    assert!(is_unavailable(&late), "{late:?}");
}

async fn behind_proxy() -> Option<(Database, Proxy, Hub)> {
    let mut database = Database::postgres().await?;
    let proxy = Proxy::before(&database.url).await;
    database.config.database.url = proxy.url.clone().into();
    let hub = database.start().await;
    Some((database, proxy, hub))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_cut_off_is_neither_doubled_nor_told_wrongly() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    let user = Player::new();
    hub.persistence.write(user.opens_session()).await.unwrap();
    database.sql("UPDATE users SET credits = 100").await;
    let user = UserWrite::Known(user.user);

    for round in 1..=5 {
        proxy.swallow_next_commit(Fate::Cut);
        let writes = (0..20).map(|_| {
            let command = Player::new().opens_as(&Room::new(), user.clone(), 1);
            hub.persistence.write(command)
        });
        let answers = join_all(writes).await;

        assert!(answers.iter().all(Result::is_ok), "{round}: {answers:?}");
        assert_eq!(proxy.swallowed(), round);
    }

    assert_eq!(database.count("rooms").await, 100);
    assert_eq!(database.number("SELECT MAX(credits) FROM users").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_outlive_a_line_that_is_cut_and_comes_back() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    proxy.set_dead(true);
    let write = tokio::spawn({
        let persistence = hub.persistence.clone();
        async move { persistence.write(Player::new().opens_session()).await }
    });
    let health = hub.persistence.probe().await;
    let token = Player::new().token.hash();
    let read = hub.persistence.session_by_token(token, "").await;

    proxy.set_dead(false);
    let answer = timeout(PATIENCE, write).await.unwrap().unwrap();

    assert_eq!(health, Err(ReadError::Unavailable));
    assert_eq!(read.unwrap_err(), ReadError::Unavailable);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(database.count("app_sessions").await, 1);
    hub.persistence.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_connections_are_cut_and_everything_goes_on() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    let player = Player::new();
    proxy.freeze_connections();

    let read = hub.persistence.session_by_id(player.session).await;
    let write = hub.persistence.write(player.opens_session());
    let answer = timeout(FROZEN_PATIENCE, write).await.unwrap();
    let again = hub.persistence.session_by_id(player.session).await;

    assert_eq!(read.unwrap_err(), ReadError::Unavailable);
    assert!(answer.is_ok(), "{answer:?}");
    assert!(again.unwrap().is_some());
    assert_eq!(database.count("app_sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_does_not_wait_for_a_connection_that_freezes_before_its_transaction() {
    let Some((_database, proxy, hub)) = behind_proxy().await else {
        return;
    };

    proxy.freeze_connections();
    let begun = timeout(STUCK, hub.persistence.begin_run()).await;
    proxy.freeze_connections();
    let opened = timeout(STUCK, hub.persistence.open_doors()).await;

    begun.unwrap().unwrap();
    opened.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_freezes_at_the_answer_to_a_commit_is_cut_and_the_truth_is_told() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    let room = Room::new();
    proxy.swallow_next_commit(Fate::Frozen);

    let write = hub.persistence.write(Player::new().opens(&room));
    let answer = timeout(FROZEN_PATIENCE, write).await.unwrap();

    assert_eq!(proxy.swallowed(), 1);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(database.count("rooms").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_lock_was_lost_takes_it_back_or_stops_writing() {
    let Some((mut database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    let lock = "SELECT COUNT(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    let direct = database.url.clone();

    // The line is cut, and the lock comes back with it.
    proxy.set_dead(true);
    until(&database, lock, 0).await;
    proxy.set_dead(false);
    until(&database, lock, 1).await;
    // The line is cut again, and another daemon is faster.
    proxy.set_dead(true);
    until(&database, lock, 0).await;
    database.config.database.url = direct.into();
    let other = database.start().await;
    proxy.set_dead(false);
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let answer = hub.persistence.write(Player::new().opens_session()).await;
        if answer.is_err() || Instant::now() > deadline {
            break answer;
        }
    };

    assert!(is_unavailable(&refused), "{refused:?}");
    other
        .persistence
        .write(Player::new().opens_session())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_arrives_does_not_wait_for_a_seat_that_is_held_up() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let hub = database.start().await;
    let room = Room::new();
    let opened = hub.persistence.write(Player::new().opens(&room)).await;
    opened.unwrap();
    let look = database.look().await;
    let stalled = look.begin().await.unwrap();
    let lock = "SELECT id FROM rooms FOR UPDATE";
    stalled.execute_unprepared(lock).await.unwrap();
    let claim = tokio::spawn({
        let (persistence, command) = (hub.persistence.clone(), Player::new().claims(&room, 1));
        async move { persistence.write(command).await }
    });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&database, waiting, 1).await;

    let arrivals = (0..8).map(|_| hub.persistence.write(Player::new().opens_session()));
    let arrived = timeout(PATIENCE, join_all(arrivals)).await.unwrap();

    assert!(arrived.iter().all(Result::is_ok), "{arrived:?}");
    assert_eq!(database.count("room_seats").await, 1);
    stalled.rollback().await.unwrap();
    claim.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_arrive_and_sit_down_at_once_do_not_lock_each_other_out() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let hub = database.start().await;
    let mut users = Vec::new();

    // By turns all of them are new, and all have another name.
    for (round, name) in (0..60).zip(["Ana", "Bo"].into_iter().cycle()) {
        if round % 2 == 0 {
            users = (0..60).map(|_| UserId::guest()).collect::<Vec<_>>();
        }
        let room = Room::new();
        let opened = hub.persistence.write(Player::new().opens(&room)).await;
        opened.unwrap();
        let account = |id: &UserId| UserWrite::Account {
            id: id.clone(),
            name: Some(name.into()),
        };
        let writes = users.iter().zip(1..).flat_map(|(id, seat)| {
            let player = Player::new();
            let claim = player.claims_as(&room, seat, account(id), 0);
            [Player::new().opens_session_as(account(id)), claim]
        });
        let answers = join_all(writes.map(|write| hub.persistence.write(write))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    // A connection that is closed has told what it has seen.
    hub.persistence.drain().await;
    let others = "SELECT COUNT(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until(&database, others, 0).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(database.number(deadlocks).await, 0);
}

async fn until(database: &Database, sql: &str, expected: i64) {
    let deadline = Instant::now() + PATIENCE;
    let mut found = database.number(sql).await;
    while found != expected && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
        found = database.number(sql).await;
    }
    assert_eq!(found, expected, "{sql}");
}

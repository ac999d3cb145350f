//! What is told when the database, the line to it or the writer fails.

use std::time::Duration;

use futures_util::future::join_all;
use holdfast::persistence::{Committed, PersistenceActor, ReadError, Refused, WriteError};
use tokio::time::{Instant, sleep, timeout};

use super::database::{Database, Hub, PATIENCE};
use super::on_both;
use super::proxy::{Line, Proxy};
use super::vocabulary::{Player, Room};

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
    assert!((4..=8).contains(&stored), "{stored}");
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

    assert_eq!(found.unwrap_err(), ReadError::Unavailable);
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
    let user = holdfast::persistence::UserWrite::Known(user.user);

    for round in 1..=5 {
        proxy.cut_next_commit();
        let writes = (0..20).map(|_| {
            let command = Player::new().opens_as(&Room::new(), user.clone(), 1);
            hub.persistence.write(command)
        });
        let answers = join_all(writes).await;

        assert!(answers.iter().all(Result::is_ok), "{round}: {answers:?}");
        assert_eq!(proxy.cuts(), round);
    }

    assert_eq!(database.count("rooms").await, 100);
    assert_eq!(database.number("SELECT MAX(credits) FROM users").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_outlive_a_line_that_is_cut_and_comes_back() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    proxy.set_line(Line::Dead);
    let write = tokio::spawn({
        let persistence = hub.persistence.clone();
        async move { persistence.write(Player::new().opens_session()).await }
    });
    let health = hub.persistence.probe().await;
    let token = Player::new().token.hash();
    let read = hub.persistence.session_by_token(token, "").await;

    proxy.set_line(Line::Open);
    let answer = timeout(PATIENCE, write).await.unwrap().unwrap();

    assert_eq!(health, Err(ReadError::Unavailable));
    assert_eq!(read.unwrap_err(), ReadError::Unavailable);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(database.count("app_sessions").await, 1);
    hub.persistence.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_freezes_is_cut_and_the_truth_is_told() {
    let Some((database, proxy, hub)) = behind_proxy().await else {
        return;
    };
    hub.persistence
        .write(Player::new().opens_session())
        .await
        .unwrap();
    proxy.set_line(Line::Frozen);
    let started = Instant::now();
    let write = tokio::spawn({
        let persistence = hub.persistence.clone();
        async move { persistence.write(Player::new().opens_session()).await }
    });
    // Longer than the writer waits before it cuts the connection.
    sleep(Duration::from_secs(11)).await;
    proxy.set_line(Line::Open);

    let answer = timeout(PATIENCE, write).await.unwrap().unwrap();

    let stored = database.count("app_sessions").await;
    assert_eq!(
        stored == 2,
        answer.is_ok(),
        "{answer:?} {:?}",
        started.elapsed()
    );
    hub.persistence
        .write(Player::new().opens_session())
        .await
        .unwrap();
}

//! One bad command among many: it fails alone, and nothing of it stays.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon, Database, Player, on_both_databases};

on_both_databases!(
    a_command_for_a_banned_user_fails_alone,
    a_seat_that_costs_more_than_the_user_has_is_not_sold,
    credits_are_spent_once_however_many_ask_at_once,
    a_user_sits_once_in_a_room_however_many_ask_at_once,
    what_the_database_never_takes_is_not_told_as_passing,
);

/// Commands at a time: they meet in groups, as a commit takes longer than a request.
const COMMANDS: usize = 64;

/// A daemon with rooms whose seats cost 10 credits.
async fn sells_seats(database: Database) -> Daemon {
    let plan = Daemon::on(database).with_api_key();
    let plan = plan.set("kind.paid.seats", "2").set("kind.paid.cost", "10");
    plan.start().await
}

async fn make_user(daemon: &Daemon, id: &str) {
    let body = json!({ "user": { "id": id } });
    let answer = daemon.post_as_game("/v1/sessions", body).send().await;
    answer.expect(201);
}

async fn opens_for(daemon: &Daemon, user: &str, kind: &str) -> Answer {
    let body = json!({ "kind": kind, "user": { "id": user } });
    daemon.post_as_game("/v1/rooms", body).send().await
}

async fn a_command_for_a_banned_user_fails_alone(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    make_user(&daemon, "banned").await;
    let ban = "UPDATE users SET is_active = FALSE WHERE id = 'banned'";
    daemon.store().execute(ban).await;

    let answers = join_all((0..COMMANDS).map(|number| {
        let daemon = &daemon;
        async move {
            let is_good = number % 8 != 0;
            let user = match is_good {
                true => format!("user-{number}"),
                false => "banned".to_owned(),
            };
            (is_good, opens_for(daemon, &user, "table").await)
        }
    }))
    .await;

    for (is_good, answer) in answers {
        match is_good {
            true => Player::from(&answer.expect(201)).connects(&daemon).await,
            false => {
                assert_eq!(answer.refusal(), (400, "INVALID_USER_REFERENCE"));
                continue;
            }
        };
    }
    let sql = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(sql).await, 56);
    let sql = "SELECT count(*) FROM app_sessions WHERE user_id = 'banned'";
    assert_eq!(daemon.store().count(sql).await, 1);
}

async fn a_seat_that_costs_more_than_the_user_has_is_not_sold(database: Database) {
    let daemon = sells_seats(database).await;
    make_user(&daemon, "poor").await;

    let answer = opens_for(&daemon, "poor", "paid").await;

    assert_eq!(answer.refusal(), (403, "INSUFFICIENT_CREDITS"));
    let sql = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(sql).await, 0);
}

async fn credits_are_spent_once_however_many_ask_at_once(database: Database) {
    let daemon = sells_seats(database).await;
    make_user(&daemon, "rich").await;
    let gift = "UPDATE users SET credits = 35 WHERE id = 'rich'";
    daemon.store().execute(gift).await;

    let answers = join_all((0..COMMANDS).map(|_| opens_for(&daemon, "rich", "paid"))).await;

    let sold = answers.iter().filter(|answer| answer.status == 201);
    assert_eq!(sold.count(), 3);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.refusal(), (403, "INSUFFICIENT_CREDITS"));
    }
    let sql = "SELECT credits FROM users WHERE id = 'rich'";
    assert_eq!(daemon.store().count(sql).await, 5);
}

async fn a_user_sits_once_in_a_room_however_many_ask_at_once(database: Database) {
    let daemon = Daemon::on(database).with_api_key().start().await;
    let host = Player::opens(&daemon).await;
    make_user(&daemon, "eager").await;
    let join = format!("/v1/rooms/{}/join", host.room);
    let body = json!({ "user": { "id": "eager" } });

    let answers = join_all((0..COMMANDS).map(|_| daemon.post_as_game(&join, body.clone()).send()));
    let answers = answers.await;

    let seats: Vec<&Value> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| &answer.body["seat"]["seat"])
        .collect();
    assert!(!seats.is_empty(), "{answers:?}");
    assert!(seats.iter().all(|seat| **seat == 1), "{seats:?}");
    let sql = "SELECT count(*) FROM room_seats WHERE user_id = 'eager'";
    assert_eq!(daemon.store().count(sql).await, 1);
}

async fn what_the_database_never_takes_is_not_told_as_passing(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let refuses = match database {
        Database::Sqlite => {
            "CREATE TRIGGER none_is_bad BEFORE INSERT ON users WHEN NEW.name = 'Bad'
            BEGIN SELECT RAISE(ABORT, 'bad'); END"
        }
        Database::Postgres => "ALTER TABLE users ADD CONSTRAINT none_is_bad CHECK (name <> 'Bad')",
    };
    daemon.store().execute(refuses).await;

    let opens = (0..COMMANDS).map(|number| {
        let name = if number == 7 { "Bad" } else { "Ana" };
        let body = json!({ "guest": { "name": name } });
        daemon.post("/v1/rooms", body).send()
    });
    let answers = join_all(opens).await;

    for (number, answer) in answers.iter().enumerate() {
        match number {
            7 => {
                assert_eq!(answer.refusal(), (500, "INTERNAL"));
                assert!(answer.body["retry_after"].is_null(), "{answer:?}");
            }
            _ => assert_eq!(answer.status, 201, "{answer:?}"),
        }
    }
}

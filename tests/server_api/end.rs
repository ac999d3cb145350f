//! `session_end`.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{error, guest, hub, result, session_of, user};
use crate::support::{Client, Daemon, Database, Player, Refusal, on_both_databases};

on_both_databases!(
    all_sessions_of_a_user_end_with_their_seats_and_connections,
    all_sessions_of_a_user_end_in_one_commit,
    the_rooms_of_a_user_whose_sessions_end_publish_that_it_left,
    an_end_that_was_not_committed_has_ended_no_session,
    one_session_ends_and_the_others_of_its_user_stay,
    a_session_that_was_ended_stays_ended_after_a_kill,
);

/// The status of a seat's place in its room.
async fn place(daemon: &Daemon, seat: &Value) -> Value {
    let room = daemon.room(seat["room"].as_str().unwrap()).await;
    let number = seat["seat"].as_u64().unwrap();
    room["seats"][usize::try_from(number).unwrap()]["status"].clone()
}

async fn is_over(daemon: &Daemon, token: &str) {
    let refused = Client::dial(daemon.address()).await.connects(token).await;
    assert_eq!(refused.as_ref().map_err(Refusal::code), Err(4500));
    let over_http = daemon.get("/v1/session").by(token).send().await;
    assert_eq!(over_http.refusal(), (401, "SESSION_ENDED"));
}

async fn all_sessions_of_a_user_end_with_their_seats_and_connections(database: Database) {
    let daemon = hub(database).start().await;
    let (mut other, _) = guest(&daemon).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(session_of(&daemon, "ana").await);
    }
    let (mut client, _) = Client::connect(daemon.address(), &tokens[0]).await;
    let opened = client.calls("room.open", json!({})).await.unwrap();
    let (mut second, _) = Client::connect(daemon.address(), &tokens[1]).await;
    let key = ("idempotency-key", "one-key-of-the-game-server");
    let by_game = json!({ "user": { "id": "ana" }, "kind": "duel" });
    let request = daemon.post_as_game("/v1/rooms", by_game);
    let away = request.header(key.0, key.1).send().await.expect(201);

    let ended = result(&daemon, "session_end", json!({ "user": "ana" })).await;

    assert_eq!(ended, json!({ "ended": 4 }));
    for client in [&mut client, &mut second] {
        assert_eq!(client.closed().await, (4500, "session ended".to_owned()));
    }
    for token in &tokens {
        is_over(&daemon, token).await;
    }
    for seat in [&opened["seat"], &away["seat"]] {
        assert_eq!(place(&daemon, seat).await, "empty", "{seat}");
    }
    let sql = "SELECT count(*) FROM commands";
    assert_eq!(
        daemon.store().count(sql).await,
        1,
        "the stored response stays"
    );
    other.calls("session.get", json!({})).await.unwrap();
    let again = result(&daemon, "session_end", json!({ "user": "ana" })).await;
    assert_eq!(again, json!({ "ended": 0 }));
    // The end of a session is not the end of a user.
    session_of(&daemon, "ana").await;
}

async fn all_sessions_of_a_user_end_in_one_commit(database: Database) {
    let plan = hub(database).set("faults.commit_delay", "20ms");
    let daemon = plan.start().await;
    let token = session_of(&daemon, "ana").await;
    let id = match database {
        Database::Sqlite => "randomblob(16)",
        Database::Postgres => "gen_random_uuid()",
    };
    let copies = format!(
        "INSERT INTO app_sessions (id, user_id, created_at, last_seen_at, expires_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
         SELECT {id}, user_id, created_at, last_seen_at, expires_at \
         FROM n CROSS JOIN app_sessions WHERE user_id = 'ana'"
    );
    daemon.store().execute(&copies).await;

    let ended = result(&daemon, "session_end", json!({ "user": "ana" })).await;

    assert_eq!(ended, json!({ "ended": 501 }));
    let commits = "SELECT count(DISTINCT ended_at) FROM app_sessions WHERE user_id = 'ana'";
    assert_eq!(daemon.store().count(commits).await, 1);
    is_over(&daemon, &token).await;
}

async fn the_rooms_of_a_user_whose_sessions_end_publish_that_it_left(database: Database) {
    let daemon = hub(database).start().await;
    let mut rooms = Vec::new();
    // A duel is durable: its stream gets the event in the commit of the end.
    for kind in ["table", "duel"] {
        let host = Player::opens_with(&daemon, json!({ "kind": kind })).await;
        let token = session_of(&daemon, "ana").await;
        let path = format!("/v1/rooms/{}/join", host.room);
        let joined = daemon.post(&path, json!({})).by(&token).send().await;
        let (mut client, _) = host.connects(&daemon).await;
        let channel = format!("{kind}:{}", host.room);
        client.subscribes(&channel).await.unwrap();
        rooms.push((client, channel, joined.expect(200)["seat"]["seat"].clone()));
    }

    let ended = result(&daemon, "session_end", json!({ "user": "ana" })).await;

    assert_eq!(ended, json!({ "ended": 2 }));
    for (client, channel, seat) in &mut rooms {
        let left = client.hears_news(channel, "seat.released").await;
        assert_eq!(left["seat"], *seat, "{left}");
        assert_eq!(left["reason"], "session_ended");
        // The stream goes on after it.
        client.publishes(channel, json!("alone")).await.unwrap();
    }
}

async fn an_end_that_was_not_committed_has_ended_no_session(database: Database) {
    let mut daemon = hub(database).start().await;
    let tokens = [
        session_of(&daemon, "ana").await,
        session_of(&daemon, "ana").await,
    ];
    let (client, _) = Client::connect(daemon.address(), &tokens[0]).await;

    let stall = daemon.store().stall().await;
    let refused = error(&daemon, "session_end", json!({ "user": "ana" })).await;
    assert_eq!(refused.0, 100, "{refused:?}");
    assert!(client.is_open());
    daemon.kill();
    stall.end().await;
    daemon.restart().await;

    for token in tokens {
        let session = daemon.get("/v1/session").by(&token).send().await;
        session.expect(200);
    }
}

async fn one_session_ends_and_the_others_of_its_user_stay(database: Database) {
    let daemon = hub(database).start().await;
    let ended = session_of(&daemon, "ana").await;
    let kept = session_of(&daemon, "ana").await;
    let (mut client, told) = Client::connect(daemon.address(), &ended).await;
    let (mut witness, _) = Client::connect(daemon.address(), &kept).await;
    let session = &told["data"]["session"]["id"];

    let done = result(&daemon, "session_end", json!({ "session": session })).await;
    let again = result(&daemon, "session_end", json!({ "session": session })).await;
    let unknown = json!({ "session": Uuid::new_v4().to_string() });
    let unknown = result(&daemon, "session_end", unknown).await;

    assert_eq!(done, json!({ "ended": 1 }));
    assert_eq!(client.closed().await.0, 4500);
    is_over(&daemon, &ended).await;
    witness.calls("session.get", json!({})).await.unwrap();
    assert_eq!(again, json!({ "ended": 0 }));
    assert_eq!(unknown, json!({ "ended": 0 }));
}

async fn a_session_that_was_ended_stays_ended_after_a_kill(database: Database) {
    let mut daemon = hub(database).start().await;
    let host = Player::opens(&daemon).await;

    result(&daemon, "session_end", json!({ "user": host.user })).await;
    daemon.kill();
    daemon.restart().await;

    is_over(&daemon, &host.token).await;
    let room = daemon.get(&format!("/v1/rooms/{}", host.room)).send().await;
    let seated = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(seated).await, 0, "{room:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_known_to_nobody_cannot_be_ended() {
    let daemon = hub(Database::Sqlite).start().await;
    let (client, connected) = guest(&daemon).await;

    for nobody in ["nobody".to_owned(), "x".repeat(500)] {
        let refused = error(&daemon, "session_end", json!({ "user": nobody })).await;
        assert_eq!(refused, (1018, "USER_NOT_FOUND".to_owned()));
    }
    for (body, words) in [
        (json!({}), "user must be given as text, or session"),
        (json!({ "session": "x" }), "session must be"),
        (
            json!({ "user": user(&connected), "session": Uuid::nil().to_string() }),
            "session must be left out",
        ),
    ] {
        let (code, message) = error(&daemon, "session_end", body).await;
        assert_eq!(code, 107);
        assert!(message.contains(words), "{message}");
    }
    assert!(client.is_open());
}

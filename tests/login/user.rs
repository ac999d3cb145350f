//! Who a token makes its bearer: user, name, session and seat, over the socket and over HTTP.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{lets_in, tries};
use crate::support::{Client, Daemon, Database, Issuer, Plan, Refusal, on_both_databases};

const SECRET: &str = "a-secret-of-thirty-two-characters";

on_both_databases!(
    a_user_is_made_from_the_token_and_keeps_its_name_up_to_date,
    a_user_that_must_exist_and_does_not_is_refused,
    a_seated_user_is_back_in_the_seat_after_a_kill,
    a_user_without_a_seat_gets_a_session_for_each_connection,
    a_user_asks_over_http_with_the_same_token,
    a_request_under_a_key_is_carried_out_once_for_a_user,
    one_login_in_two_tabs_that_both_join_has_one_seat_and_a_way_to_it,
);

fn game() -> Issuer {
    Issuer::secret(Algorithm::HS256, SECRET)
}

fn plan(database: Database) -> Plan {
    Daemon::on(database)
        .set("auth.hmac_secret", SECRET)
        .set("auth.require_exp", "false")
        .set("auth.guests", "false")
}

async fn a_user_is_made_from_the_token_and_keeps_its_name_up_to_date(database: Database) {
    let daemon = plan(database).start().await;
    let named = |name: &str| game().signs(json!({ "sub": "u1", "info": { "name": name } }));
    let name = async |token: &str| {
        let connected = tries(&daemon, token).await.unwrap();
        connected["data"]["user"]["name"].clone()
    };

    assert_eq!(name(&game().lets_in("u1")).await, "u1");
    assert_eq!(name(&named("Ana")).await, "Ana");
    assert_eq!(name(&game().lets_in("u1")).await, "Ana");
    assert_eq!(name(&named(&"x".repeat(65))).await, "Ana");

    let sql = "SELECT count(*) FROM users WHERE id = 'u1' AND name = 'Ana'";
    assert_eq!(daemon.store().count(sql).await, 1);
}

async fn a_user_that_must_exist_and_does_not_is_refused(database: Database) {
    let daemon = plan(database)
        .set("auth.create_users", "false")
        .start()
        .await;

    let stranger = tries(&daemon, &game().lets_in("u1")).await;
    let over_http = daemon
        .post("/v1/rooms", json!({}))
        .by(&game().lets_in("u1"));
    let over_http = over_http.send().await;
    let known = "INSERT INTO users (id, name, is_guest, is_active, credits, created_at)
        VALUES ('u2', 'Bo', false, true, 0, 0), ('u3', 'Cy', false, false, 0, 0)";
    daemon.store().execute(known).await;
    let banned = tries(&daemon, &game().lets_in("u3")).await;

    let unknown = Refusal::error(1008, "INVALID_USER_REFERENCE");
    assert_eq!(stranger, Err(unknown.clone()));
    assert_eq!(over_http.refusal(), (400, "INVALID_USER_REFERENCE"));
    assert_eq!(banned, Err(unknown));
    assert_eq!(lets_in(&daemon, &game().lets_in("u2")).await, "u2");
}

async fn a_seated_user_is_back_in_the_seat_after_a_kill(database: Database) {
    let mut daemon = plan(database).start().await;
    let token = game().lets_in("u1");
    let (mut client, first) = Client::connect(daemon.address(), &token).await;
    let opened = client.calls("room.open", json!({ "seat": 2 })).await;
    let room = opened.unwrap()["room"]["code"].clone();

    daemon.kill();
    daemon.restart().await;
    let (_client, second) = Client::connect(daemon.address(), &token).await;

    let (first, second) = (&first["data"], &second["data"]);
    assert!(first["session"]["token"].is_string(), "{first}");
    assert_eq!(second["session"]["id"], first["session"]["id"]);
    assert_eq!(second["session"].get("token"), None);
    assert_eq!(second["user"]["id"], "u1");
    assert_eq!(second["seats"][0]["room"], room);
    assert_eq!(second["seats"][0]["seat"], 2);
    assert_eq!(second["seats"][0]["status"], "held");
}

async fn a_user_without_a_seat_gets_a_session_for_each_connection(database: Database) {
    let daemon = plan(database).start().await;
    let token = game().lets_in("u1");

    let (mut first, one) = Client::connect(daemon.address(), &token).await;
    let (second, two) = Client::connect(daemon.address(), &token).await;
    assert_ne!(one["data"]["session"]["id"], two["data"]["session"]["id"]);
    assert!(first.is_open() && second.is_open());

    first.calls("room.open", json!({})).await.unwrap();
    drop(second);
    let (_third, three) = Client::connect(daemon.address(), &token).await;

    assert_eq!(three["data"]["session"]["id"], one["data"]["session"]["id"]);
    assert_eq!(first.closed().await.0, 4501);
    let session = one["data"]["session"]["token"].as_str().unwrap();
    let (_fourth, four) = Client::connect(daemon.address(), session).await;
    assert_eq!(four["data"]["seats"], three["data"]["seats"]);
}

async fn a_user_asks_over_http_with_the_same_token(database: Database) {
    let daemon = plan(database).start().await;
    let token = game().lets_in("u1");

    let nobody = daemon.get("/v1/session").by(&token).send().await;
    let opened = daemon.post("/v1/rooms", json!({})).by(&token).send().await;
    let opened = opened.expect(201);
    let seen = daemon.get("/v1/session").by(&token).send().await;
    let seen = seen.expect(200);
    let again = daemon.post("/v1/sessions", json!({})).by(&token);
    let again = again.send().await.expect(200);
    let (_client, connected) = Client::connect(daemon.address(), &token).await;
    let speaking_for = json!({ "user": { "id": "u2" } });
    let other = daemon.post("/v1/rooms", speaking_for).by(&token).send();

    assert_eq!(nobody.refusal(), (401, "SESSION_ENDED"));
    assert_eq!(opened["user"], json!({ "id": "u1", "name": "u1" }));
    assert!(opened["session"]["token"].is_string(), "{opened}");
    assert_eq!(seen["session"]["id"], opened["session"]["id"]);
    assert_eq!(seen["seats"][0]["seat"], 0);
    assert_eq!(again["session"].get("token"), None);
    assert_eq!(again["session"]["id"], opened["session"]["id"]);
    assert_eq!(connected["data"]["session"]["id"], opened["session"]["id"]);
    assert_eq!(other.await.refusal(), (400, "BAD_REQUEST"));
    let late = game().signs(json!({ "sub": "u1", "exp": 1 }));
    let late = daemon.get("/v1/session").by(&late).send().await;
    assert_eq!(late.refusal(), (401, "TOKEN_EXPIRED"));
    let forged = Issuer::secret(Algorithm::HS256, "other").lets_in("u1");
    let forged = daemon.get("/v1/session").by(&forged).send().await;
    assert_eq!(forged.refusal(), (401, "TOKEN_INVALID"));
    let ended = daemon.delete("/v1/session").by(&token).send().await;
    assert_eq!(ended.status, 204, "{ended:?}");
    assert_eq!(
        daemon.room(code(&opened)).await["seats"][0]["status"],
        "empty"
    );
}

async fn a_request_under_a_key_is_carried_out_once_for_a_user(database: Database) {
    let daemon = plan(database).start().await;
    let token = game().lets_in("u1");
    let open = async || {
        let request = daemon.post("/v1/rooms", json!({})).by(&token);
        let request = request.header("idempotency-key", "a-key-of-this-request");
        request.send().await.expect(201)
    };

    // The first makes the user's session, in which the second asks.
    let (first, second) = (open().await, open().await);

    assert_eq!(second["room"], first["room"]);
    assert_eq!(second["session"]["id"], first["session"]["id"]);
    let sql = "SELECT count(*) FROM rooms";
    assert_eq!(daemon.store().count(sql).await, 1);
}

fn code(answer: &Value) -> &str {
    answer["room"]["code"].as_str().unwrap()
}

/// Both tabs were connected before either had a seat, so each has a session of its own.
async fn one_login_in_two_tabs_that_both_join_has_one_seat_and_a_way_to_it(database: Database) {
    let daemon = plan(database).start().await;
    let host = game().lets_in("host");
    let (mut host, _) = Client::connect(daemon.address(), &host).await;
    let opened = host.calls("room.open", json!({})).await.unwrap();
    let (room, channel) = (&opened["room"]["code"], &opened["room"]["channel"]);
    let channel = channel.as_str().unwrap();
    let login = game().lets_in("u1");
    let (mut first, _) = Client::connect(daemon.address(), &login).await;
    let (mut second, _) = Client::connect(daemon.address(), &login).await;

    let join = json!({ "room": room });
    let (one, other) = tokio::join!(
        first.calls("room.join", join.clone()),
        second.calls("room.join", join.clone()),
    );
    let (mut loser, mut winner, seat) = match (one, other) {
        (Ok(seated), Err(refusal)) => {
            assert_eq!(refusal, Refusal::error(1006, "ALREADY_SEATED"));
            (second, first, seated["seat"]["seat"].clone())
        }
        (Err(refusal), Ok(seated)) => {
            assert_eq!(refusal, Refusal::error(1006, "ALREADY_SEATED"));
            (first, second, seated["seat"]["seat"].clone())
        }
        both => panic!("one of the two has the seat: {both:?}"),
    };
    // It does not help to ask again in the same session.
    let again = loser.calls("room.join", join.clone()).await;
    assert_eq!(again, Err(Refusal::error(1006, "ALREADY_SEATED")));
    // Over HTTP the login is the session that sits.
    let path = format!("/v1/rooms/{}/join", room.as_str().unwrap());
    let over_http = daemon.post(&path, json!({})).by(&login).send().await;
    assert_eq!(over_http.expect(200)["seat"]["seat"], seat);
    loser.drops_the_line();

    // The remedy of the guide: connect again with the login.
    let (mut tab, connected) = Client::connect(daemon.address(), &login).await;
    assert_eq!(connected["data"]["seats"][0]["seat"], seat);
    assert_eq!(winner.closed().await.0, 4501);
    tab.subscribes(channel).await.unwrap();
    tab.publishes(channel, json!("here")).await.unwrap();
    let joined = tab.calls("room.join", join).await.unwrap();
    assert_eq!(joined["seat"]["seat"], seat);
    let sql = "SELECT count(*) FROM room_seats WHERE user_id = 'u1'";
    assert_eq!(daemon.store().count(sql).await, 1);
}

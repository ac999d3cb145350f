//! A login that is over is over: the session that it made is let in no longer than the login itself.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{refuses, tries};
use crate::support::{
    Client, Daemon, Database, Issuer, Plan, Player, eventually, in_seconds, on_both_databases,
};

const SECRET: &str = "a-secret-of-thirty-two-characters";

/// How long the one login is good whose end a test waits for: time enough to be used on a busy machine.
const SHORT: i64 = 6;

/// Ends every login, as time would.
const LOGINS_ARE_OVER: &str = "UPDATE app_sessions SET login_until = 1 WHERE login_until > 1";

on_both_databases!(
    a_session_is_let_in_as_long_as_the_login_that_made_it,
    a_new_login_and_a_refresh_let_the_session_in_for_longer,
    a_session_without_a_login_is_let_in_as_long_as_it_lives,
    a_game_server_says_until_when_its_user_is_let_in,
    a_seat_token_lets_in_no_longer_than_the_login_behind_it,
    a_user_who_is_not_active_is_kept_out_by_any_token,
);

fn plan(database: Database) -> Plan {
    Daemon::on(database)
        .set("auth.hmac_secret", SECRET)
        .with_api_key()
}

/// A token of `u1` that is good for so many seconds.
fn lasting(seconds: i64) -> String {
    let claims = json!({ "sub": "u1", "exp": in_seconds(seconds) });
    Issuer::secret(Algorithm::HS256, SECRET).signs(claims)
}

/// Connects with this login and sits down: the client, its session's token and its seat.
async fn seated(daemon: &Daemon, login: &str) -> (Client, String, Value) {
    let (mut client, told) = Client::connect(daemon.address(), login).await;
    let opened = client.calls("room.open", json!({})).await.unwrap();
    let token = told["data"]["session"]["token"].as_str().unwrap();
    (client, token.to_owned(), opened["seat"].clone())
}

/// Ends all logins while the daemon is down, and starts it again.
async fn logins_end(daemon: &mut Daemon) {
    daemon.kill();
    daemon.store().execute(LOGINS_ARE_OVER).await;
    daemon.restart().await;
}

async fn a_session_is_let_in_as_long_as_the_login_that_made_it(database: Database) {
    let daemon = plan(database).start().await;
    let (_client, token, seat) = seated(&daemon, &lasting(SHORT)).await;
    let (mut by_token, told) = Client::connect(daemon.address(), &token).await;

    let over = eventually("the session's token is refused", async || {
        let answer = daemon.get("/v1/session").by(&token).send().await;
        (answer.status != 200)
            .then_some(())
            .ok_or("let in".to_owned())?;
        Ok(answer)
    });
    let over = over.await;

    assert_eq!(told["expires"], true, "{told}");
    let ttl = told["ttl"].as_i64().unwrap();
    assert!((1..=SHORT).contains(&ttl), "{told}");
    assert_eq!(over.refusal(), (401, "TOKEN_EXPIRED"));
    refuses(&daemon, &token, 109).await;
    let key = ("idempotency-key", "a-key-of-this-request");
    for request in [
        daemon.post("/v1/rooms", json!({})),
        daemon.post("/v1/sessions", json!({})),
        daemon.delete("/v1/session").header(key.0, key.1),
    ] {
        let answer = request.by(&token).send().await;
        assert_eq!(answer.refusal(), (401, "TOKEN_EXPIRED"));
    }
    // The connection has until the grace is over to bring a new login, and does.
    let renewed = json!({ "token": lasting(3600) });
    by_token.asks("refresh", renewed).await.unwrap();
    let again = eventually("the session's token is good again", async || {
        let answer = daemon.get("/v1/session").by(&token).send().await;
        (answer.status == 200)
            .then_some(())
            .ok_or(format!("{answer:?}"))?;
        Ok(answer.body)
    });
    let again = again.await;
    assert_eq!(again["seats"][0]["room"], seat["room"]);
    assert_eq!(again["seats"][0]["status"], "held");
}

async fn a_new_login_and_a_refresh_let_the_session_in_for_longer(database: Database) {
    let mut daemon = plan(database).start().await;
    let (client, token, seat) = seated(&daemon, &lasting(3600)).await;
    let shown = daemon.get("/v1/session").by(&token).send().await;
    let shown = shown.expect(200)["session"]["expires_at"].clone();
    assert!(
        until_is_about(&shown, 3600),
        "{shown} is the end of the login"
    );
    drop(client);

    logins_end(&mut daemon).await;
    refuses(&daemon, &token, 109).await;
    let (_client, told) = Client::connect(daemon.address(), &lasting(7200)).await;

    // The seat was kept meanwhile, as any seat that is away.
    assert_eq!(told["data"]["seats"][0]["room"], seat["room"]);
    let shown = &told["data"]["session"]["expires_at"];
    assert!(
        until_is_about(shown, 7200),
        "{shown} is the end of the new login"
    );
    assert!(tries(&daemon, &token).await.is_ok());
    let sql = "SELECT count(*) FROM app_sessions WHERE login_until > 1";
    eventually("the new end is written", async || {
        let count = daemon.store().count(sql).await;
        (count == 1).then_some(()).ok_or(format!("{count}"))
    })
    .await;
    // Over HTTP as well.
    logins_end(&mut daemon).await;
    let by_login = daemon.post("/v1/sessions", json!({})).by(&lasting(600));
    by_login.send().await.expect(200);
    assert!(tries(&daemon, &token).await.is_ok());
}

async fn a_session_without_a_login_is_let_in_as_long_as_it_lives(database: Database) {
    let mut daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let user = json!({ "user": { "id": "u2" } });
    let opened = daemon.post_as_game("/v1/rooms", user).send().await;
    let opened = opened.expect(201);
    let token = opened["session"]["token"].as_str().unwrap();

    logins_end(&mut daemon).await;

    for token in [&guest.token, token] {
        let (_client, told) = Client::connect(daemon.address(), token).await;
        assert_eq!(told.get("expires"), None, "{told}");
        assert_eq!(told["data"]["seats"][0]["status"], "held");
    }
}

async fn a_game_server_says_until_when_its_user_is_let_in(database: Database) {
    let mut daemon = plan(database).start().await;
    let opens = async |until: Value| {
        let body = json!({ "user": { "id": "u2" }, "expires_at": until });
        daemon.post_as_game("/v1/rooms", body).send().await
    };

    let moment = "2126-11-30T12:00:00+01:00";
    let opened = opens(json!(moment)).await.expect(201);
    let token = opened["session"]["token"].as_str().unwrap().to_owned();
    for wrong in [
        json!("2001-01-01T00:00:00Z"),
        json!("tomorrow"),
        json!(1_800_000_000),
    ] {
        let refused = opens(wrong.clone()).await;
        assert_eq!(refused.refusal(), (400, "BAD_REQUEST"), "{wrong}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("expires_at must be"), "{detail}");
    }
    let by_guest = json!({ "expires_at": "2126-11-30T12:00:00Z" });
    let guest = daemon.post("/v1/sessions", by_guest).send().await;
    guest.expect(201);

    let moment = chrono::DateTime::parse_from_rfc3339(moment).unwrap();
    let millis = moment.timestamp_millis();
    let sql = format!("SELECT count(*) FROM app_sessions WHERE login_until = {millis}");
    assert_eq!(daemon.store().count(&sql).await, 1);
    let told = tries(&daemon, &token).await.unwrap();
    assert_eq!(told["expires"], true, "{told}");
    logins_end(&mut daemon).await;
    refuses(&daemon, &token, 109).await;
}

async fn a_seat_token_lets_in_no_longer_than_the_login_behind_it(database: Database) {
    let mut daemon = plan(database).start().await;
    let (_client, _, seat) = seated(&daemon, &lasting(3600)).await;
    let seat_token = seat["token"].as_str().unwrap();

    let (_other, told) = Client::connect(daemon.address(), seat_token).await;
    let moved = told["data"]["session"]["token"].as_str().unwrap();
    let newer = told["data"]["seats"][0]["token"].as_str().unwrap();
    assert_eq!(told["expires"], true, "{told}");
    logins_end(&mut daemon).await;

    for token in [seat_token, moved, newer] {
        refuses(&daemon, token, 109).await;
    }
    let body = json!({ "seat_token": newer });
    let over_http = daemon.post("/v1/sessions", body).send().await;
    assert_eq!(over_http.refusal(), (401, "TOKEN_EXPIRED"));
    let (_client, told) = Client::connect(daemon.address(), &lasting(3600)).await;
    assert_eq!(told["data"]["seats"][0]["status"], "held");
}

async fn a_user_who_is_not_active_is_kept_out_by_any_token(database: Database) {
    let daemon = plan(database).start().await;
    let login = lasting(3600);
    let (mut client, token, seat) = seated(&daemon, &login).await;
    let seat_token = seat["token"].as_str().unwrap();
    let switch = async |is_active: bool| {
        let sql = format!("UPDATE users SET is_active = {is_active} WHERE id = 'u1'");
        daemon.store().execute(&sql).await;
    };

    switch(false).await;
    let goes_on = client
        .asks("refresh", json!({ "token": lasting(7200) }))
        .await;
    assert_eq!(goes_on.unwrap_err().code(), 1008);
    for token in [&token, seat_token, &login] {
        refuses(&daemon, token, 1008).await;
    }
    for token in [&token, &login] {
        for request in [
            daemon.get("/v1/session"),
            daemon.post("/v1/sessions", json!({})),
            daemon.post("/v1/rooms", json!({})),
        ] {
            let answer = request.by(token).send().await;
            assert_eq!(answer.refusal(), (400, "INVALID_USER_REFERENCE"));
        }
    }
    switch(true).await;

    let told = tries(&daemon, &token).await.unwrap();
    assert_eq!(told["data"]["seats"][0]["room"], seat["room"]);
}

/// Whether a moment is so many seconds away, as far as a busy machine lets us say.
fn until_is_about(moment: &Value, seconds: i64) -> bool {
    let moment = chrono::DateTime::parse_from_rfc3339(moment.as_str().unwrap()).unwrap();
    let left = moment.timestamp() - in_seconds(0);
    (seconds - 300..=seconds).contains(&left)
}

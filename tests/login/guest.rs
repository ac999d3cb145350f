//! A guest becomes an account, and keeps session, seats and scores.

use futures_util::future::select;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::refuses;
use crate::support::{
    Answer, Client, Daemon, Database, Issuer, Plan, Player, Refusal, Request, eventually,
    in_seconds, on_both_databases,
};

const SECRET: &str = "a-secret-of-thirty-two-characters";

/// Long enough that a request is killed, or given up, before its commit.
const COMMIT_DELAY: &str = "1s";

on_both_databases!(
    a_guest_who_logs_in_over_http_keeps_session_and_seats,
    a_guest_who_logs_in_with_a_connect_plays_on_as_the_user,
    everybody_in_the_room_receives_the_new_user,
    a_durable_room_has_the_new_user_in_the_commit,
    no_token_of_the_guest_is_good_any_more,
    a_user_who_sits_in_the_room_already_is_refused_and_nothing_moves,
    only_a_guests_session_moves,
    a_login_that_is_no_good_moves_nothing,
    the_scores_of_the_guest_are_the_users,
    a_lost_answer_locks_nobody_out,
    a_request_with_a_key_is_carried_out_once,
    a_crash_at_any_moment_leaves_the_guest_or_the_user,
    a_client_that_shows_the_guests_token_again_is_the_user,
    the_hold_of_a_guest_who_logs_in_runs_on,
    a_line_that_drops_while_its_guest_logs_in_turns_the_seat_away,
    a_login_that_ends_ends_the_session_it_was_given_to,
);

fn plan(database: Database) -> Plan {
    Daemon::on(database)
        .set("auth.hmac_secret", SECRET)
        .with_api_key()
}

fn login_of(user: &str) -> String {
    let claims = json!({
        "sub": user, "exp": in_seconds(3600), "info": { "name": format!("{user}'s name") },
    });
    Issuer::secret(Algorithm::HS256, SECRET).signs(claims)
}

fn log_in(daemon: &Daemon, token: &str, user: &str) -> Request {
    let body = json!({ "login": login_of(user) });
    daemon.post("/v1/sessions", body).by(token)
}

/// Logs in over HTTP, which must succeed; the answer.
async fn logs_in(daemon: &Daemon, guest: &Player, user: &str) -> Value {
    log_in(daemon, &guest.token, user).send().await.expect(201)
}

/// Connects as a guest who logs in.
async fn connects_as(daemon: &Daemon, token: &str, user: &str) -> (Client, Result<Value, Refusal>) {
    let mut client = Client::dial(daemon.address()).await;
    let body = json!({ "token": token, "data": { "login": login_of(user) } });
    let connected = client.asks("connect", body).await;
    (client, connected.map(|mut result| result["data"].take()))
}

/// Looks whether this is the guest's session with its seat, as the user's.
#[track_caller]
fn check(report: &Value, guest: &Player, user: &str) {
    assert_eq!(report["session"]["id"], guest.session, "{report}");
    assert_eq!(report["user"]["id"], user, "{report}");
    assert_eq!(report["user"]["name"], format!("{user}'s name"), "{report}");
    assert_eq!(report["seats"][0]["room"], guest.room, "{report}");
    assert_eq!(report["seats"][0]["seat"].as_u64(), guest.seat, "{report}");
}

fn token_of(report: &Value) -> String {
    let token = report["session"]["token"].as_str();
    token
        .unwrap_or_else(|| panic!("no token in {report}"))
        .to_owned()
}

/// Looks whether all is as it was before the guest tried to log in.
async fn is_as_before(daemon: &Daemon, guest: &Player) {
    let shown = daemon.get("/v1/session").by(&guest.token).send().await;
    let shown = shown.expect(200);
    assert_eq!(shown["session"]["id"], guest.session);
    assert_eq!(shown["user"]["id"], guest.user);
    assert_eq!(shown["seats"][0]["room"], guest.room);
    assert_eq!(guest.seat_in_room(daemon).await["user"]["id"], guest.user);
}

async fn a_guest_who_logs_in_over_http_keeps_session_and_seats(database: Database) {
    let mut daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;

    let answer = logs_in(&daemon, &guest, "u1").await;

    check(&answer, &guest, "u1");
    let token = token_of(&answer);
    assert_eq!(guest.seat_in_room(&daemon).await["user"]["id"], "u1");
    let (_client, connected) = Client::connect(daemon.address(), &token).await;
    check(&connected["data"], &guest, "u1");
    assert_eq!(connected["data"]["seats"][0]["status"], "held");
    daemon.kill();
    daemon.restart().await;
    let (_client, connected) = Client::connect(daemon.address(), &token).await;
    check(&connected["data"], &guest, "u1");
    assert_eq!(guest.seat_in_room(&daemon).await["user"]["id"], "u1");
}

async fn a_guest_who_logs_in_with_a_connect_plays_on_as_the_user(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let mut before = guest.sits_down(&daemon).await;

    let (mut client, connected) = connects_as(&daemon, &guest.token, "u1").await;

    let connected = connected.unwrap();
    check(&connected, &guest, "u1");
    assert_eq!(connected["seats"][0]["status"], "held");
    assert_eq!(before.closed().await.0, 4501);
    client.subscribes(&guest.channel).await.unwrap();
    client
        .publishes(&guest.channel, json!("mine"))
        .await
        .unwrap();
    let heard = client.hears_a_player(&guest.channel).await;
    assert_eq!(heard["info"]["user"], "u1");
    // The new token is the session's.
    let (_again, data) = Client::connect(daemon.address(), &token_of(&connected)).await;
    check(&data["data"], &guest, "u1");
    // And so is the login alone.
    let (_again, data) = Client::connect(daemon.address(), &login_of("u1")).await;
    check(&data["data"], &guest, "u1");
}

async fn everybody_in_the_room_receives_the_new_user(database: Database) {
    let daemon = plan(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;

    logs_in(&daemon, &guest, "u1").await;

    let back = watching.hears_news(&host.channel, "seat.back").await;
    assert_eq!(back["seat"].as_u64(), guest.seat);
    let user = json!({ "id": "u1", "name": "u1's name" });
    assert_eq!(back["user"], user);
    // Nobody is attached, so the user is away, and members receive that as well.
    let away = watching.hears_news(&host.channel, "seat.away").await;
    assert_eq!(away["user"], user);
    assert!(away["hold_seconds"].as_u64().unwrap() > 0, "{away}");
}

async fn a_durable_room_has_the_new_user_in_the_commit(database: Database) {
    let mut daemon = plan(database).start().await;
    let guest = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    let _client = guest.sits_down(&daemon).await;

    let answer = logs_in(&daemon, &guest, "u1").await;
    daemon.kill();

    daemon.restart().await;
    let (mut client, _) = Client::connect(daemon.address(), &token_of(&answer)).await;
    client.subscribes(&guest.channel).await.unwrap();
    let history = json!({ "channel": guest.channel, "limit": -1 });
    let history = client.asks("history", history).await.unwrap();
    let told = history["publications"].as_array().unwrap();
    let users: Vec<&Value> = told
        .iter()
        .filter(|publication| publication["data"]["type"] == "seat.back")
        .map(|publication| &publication["data"]["user"]["id"])
        .collect();
    assert!(users.contains(&&json!("u1")), "{history}");
    let offsets = told.iter().map(|told| told["offset"].as_u64().unwrap());
    assert!(offsets.eq(1..=told.len() as u64), "{history}");
}

async fn no_token_of_the_guest_is_good_any_more(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let (_client, data) = guest.connects(&daemon).await;
    let seat_token = data["seats"][0]["token"].as_str().unwrap();

    let answer = logs_in(&daemon, &guest, "u1").await;

    refuses(&daemon, &guest.token, 3500).await;
    let shown = daemon.get("/v1/session").by(&guest.token).send().await;
    assert_eq!(shown.refusal(), (401, "TOKEN_INVALID"));
    let body = json!({ "seat_token": seat_token });
    let taken = daemon.post("/v1/sessions", body).send().await;
    assert_eq!(taken.status, 403, "{taken:?}");
    // What the user was given is as good as before.
    let (_client, data) = Client::connect(daemon.address(), &token_of(&answer)).await;
    let body = json!({ "seat_token": data["data"]["seats"][0]["token"] });
    let taken = daemon.post("/v1/sessions", body).send().await;
    assert_eq!(taken.expect(201)["user"]["id"], "u1");
}

async fn a_user_who_sits_in_the_room_already_is_refused_and_nothing_moves(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let join = daemon.post(&format!("/v1/rooms/{}/join", guest.room), json!({}));
    join.by(&login_of("u1")).send().await.expect(200);

    let refused = log_in(&daemon, &guest.token, "u1").send().await;

    assert_eq!(refused.refusal(), (409, "ALREADY_SEATED"));
    is_as_before(&daemon, &guest).await;
    let (_client, refused) = connects_as(&daemon, &guest.token, "u1").await;
    assert_eq!(refused.unwrap_err().code(), 1006);
    is_as_before(&daemon, &guest).await;
}

async fn only_a_guests_session_moves(database: Database) {
    let daemon = plan(database).start().await;
    let opened = daemon.post("/v1/rooms", json!({}));
    let opened = opened.by(&login_of("u2")).send().await.expect(201);
    let other = Player::from(&opened);

    let refused = log_in(&daemon, &other.token, "u1").send().await;

    assert_eq!(refused.refusal(), (403, "PERMISSION_DENIED"));
    is_as_before(&daemon, &other).await;
    // Its own user logs in anew, and keeps the token.
    let own = log_in(&daemon, &other.token, "u2").send().await.expect(200);
    assert_eq!(own["session"]["id"], other.session);
    assert_eq!(own["session"]["token"], Value::Null);
    is_as_before(&daemon, &other).await;
}

async fn a_login_that_is_no_good_moves_nothing(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let strange = Issuer::secret(Algorithm::HS256, "another-secret-of-32-characters!");
    let forged = strange.signs(json!({ "sub": "u1", "exp": in_seconds(60) }));
    daemon
        .post_as_game("/v1/sessions", json!({ "user": { "id": "u9" } }))
        .send()
        .await
        .expect(201);
    let sql = "UPDATE users SET is_active = false WHERE id = 'u9'";
    daemon.store().execute(sql).await;
    let tries = async |login: Value, token: Option<&str>| {
        let request = daemon.post("/v1/sessions", json!({ "login": login }));
        let request = match token {
            Some(token) => request.by(token),
            None => request,
        };
        let answer: Answer = request.send().await;
        let (status, code) = answer.refusal();
        (status, code.to_owned())
    };
    let token = Some(guest.token.as_str());

    let expect = |status, code: &str| (status, code.to_owned());
    assert_eq!(
        tries(json!(forged), token).await,
        expect(401, "TOKEN_INVALID")
    );
    assert_eq!(tries(json!(7), token).await, expect(400, "BAD_REQUEST"));
    assert_eq!(
        tries(json!(login_of("u1")), None).await,
        expect(400, "BAD_REQUEST")
    );
    assert_eq!(
        tries(json!(login_of("u1")), Some(&login_of("u1"))).await,
        expect(400, "BAD_REQUEST")
    );
    assert_eq!(
        tries(json!(login_of("u9")), token).await,
        expect(400, "INVALID_USER_REFERENCE")
    );
    let both = json!({ "login": login_of("u1"), "seat_token": "eyJ.." });
    let both = daemon.post("/v1/sessions", both).by(&guest.token).send();
    assert_eq!(both.await.refusal(), (400, "BAD_REQUEST"));
    is_as_before(&daemon, &guest).await;
}

async fn the_scores_of_the_guest_are_the_users(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let sql = "UPDATE event_participants SET score = 7";
    daemon.store().execute(sql).await;

    logs_in(&daemon, &guest, "u1").await;

    let sql = "SELECT count(*) FROM event_participants WHERE user_id = 'u1' AND score = 7";
    assert_eq!(daemon.store().count(sql).await, 1);
    let sql = "SELECT count(*) FROM event_participants";
    assert_eq!(daemon.store().count(sql).await, 1);
    // The better of two scores stays: the user has sat in the second room before.
    let second = Player::opens(&daemon).await;
    let join = daemon.post(&format!("/v1/rooms/{}/join", second.room), json!({}));
    let joined = join.by(&login_of("u3")).send().await.expect(200);
    let ends = daemon.delete("/v1/session");
    ends.by(&token_of(&joined)).send().await.expect(204);
    let sql = format!(
        "UPDATE event_participants SET score = CASE user_id WHEN 'u3' THEN 9 ELSE 4 END \
         WHERE user_id IN ('u3', '{}')",
        second.user
    );
    daemon.store().execute(&sql).await;

    logs_in(&daemon, &second, "u3").await;

    let sql = "SELECT count(*) FROM event_participants WHERE user_id = 'u3' AND score = 9";
    assert_eq!(daemon.store().count(sql).await, 1);
    let sql = "SELECT count(*) FROM event_participants";
    assert_eq!(daemon.store().count(sql).await, 2);
}

/// A client that goes before its answer comes has logged in all the same, and finds its session by the login alone.
async fn a_lost_answer_locks_nobody_out(database: Database) {
    let daemon = plan(database)
        .set("faults.commit_delay", "200ms")
        .start()
        .await;
    let guest = Player::opens(&daemon).await;

    let asking = tokio::spawn(log_in(&daemon, &guest.token, "u1").send());

    eventually("the guest has become the user", async || {
        let seat = guest.seat_in_room(&daemon).await;
        (seat["user"]["id"] == "u1")
            .then_some(())
            .ok_or(seat.to_string())
    })
    .await;
    asking.abort();
    let (_client, connected) = Client::connect(daemon.address(), &login_of("u1")).await;
    check(&connected["data"], &guest, "u1");
    let by_login = daemon.get("/v1/session").by(&login_of("u1")).send().await;
    check(&by_login.expect(200), &guest, "u1");
}

async fn a_request_with_a_key_is_carried_out_once(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let (name, key) = ("idempotency-key", "0123456789abcdef0123456789abcdef");
    let ask = |token: &str| log_in(&daemon, token, "u1").header(name, key);

    let first = ask(&guest.token).send().await.expect(201);
    let second = ask(&guest.token).send().await.expect(201);

    check(&first, &guest, "u1");
    check(&second, &guest, "u1");
    for answer in [&first, &second] {
        let (_client, data) = Client::connect(daemon.address(), &token_of(answer)).await;
        check(&data["data"], &guest, "u1");
    }
    let other = Player::opens(&daemon).await;
    assert_eq!(
        ask(&other.token).send().await.refusal(),
        (422, "KEY_REUSED")
    );
    is_as_before(&daemon, &other).await;
}

async fn a_crash_at_any_moment_leaves_the_guest_or_the_user(database: Database) {
    let mut daemon = plan(database)
        .set("faults.commit_delay", COMMIT_DELAY)
        .start()
        .await;
    let guest = Player::opens(&daemon).await;

    // One of two is told that the other one is being written.
    let asks = || Box::pin(log_in(&daemon, &guest.token, "u1").send());
    let (told, writing) = select(asks(), asks()).await.factor_first();
    assert_eq!(told.refusal(), (503, "UNAVAILABLE"));
    daemon.kill();
    drop(writing);
    daemon.restart().await;

    // Nothing was committed, so nothing has moved.
    is_as_before(&daemon, &guest).await;
    let answer = logs_in(&daemon, &guest, "u1").await;
    daemon.kill();
    daemon.restart().await;
    // It was answered, so all of it is there.
    let (_client, connected) = Client::connect(daemon.address(), &token_of(&answer)).await;
    check(&connected["data"], &guest, "u1");
    refuses(&daemon, &guest.token, 3500).await;
}

/// An SDK connects with what it was given at first, whenever its line was lost.
async fn a_client_that_shows_the_guests_token_again_is_the_user(database: Database) {
    let daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let (first, connected) = connects_as(&daemon, &guest.token, "u1").await;
    check(&connected.unwrap(), &guest, "u1");
    first.drops_the_line();

    let (_second, connected) = connects_as(&daemon, &guest.token, "u1").await;
    let over_http = log_in(&daemon, &guest.token, "u1").send().await;

    check(&connected.unwrap(), &guest, "u1");
    check(&over_http.expect(200), &guest, "u1");
}

async fn the_hold_of_a_guest_who_logs_in_runs_on(database: Database) {
    let daemon = plan(database)
        .set("kind.quick.seats", "2")
        .set("kind.quick.grace", "2s")
        .start()
        .await;
    let guest = Player::opens_with(&daemon, json!({ "kind": "quick" })).await;
    let client = guest.sits_down(&daemon).await;

    logs_in(&daemon, &guest, "u1").await;
    drop(client);

    seat_is_given_up(&daemon, &guest).await;
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 0);
}

/// Nobody is left to turn the seat away but the hub.
async fn a_line_that_drops_while_its_guest_logs_in_turns_the_seat_away(database: Database) {
    let daemon = plan(database)
        .set("kind.quick.seats", "2")
        .set("kind.quick.grace", "2s")
        .set("faults.commit_delay", COMMIT_DELAY)
        .start()
        .await;
    let guest = Player::opens_with(&daemon, json!({ "kind": "quick" })).await;
    let client = guest.sits_down(&daemon).await;

    let asks = || Box::pin(log_in(&daemon, &guest.token, "u1").send());
    let (told, writing) = select(asks(), asks()).await.factor_first();
    assert_eq!(told.refusal(), (503, "UNAVAILABLE"));
    client.drops_the_line();
    eventually("the hub knows that the line is gone", async || {
        let connections = daemon.actors().await.connections;
        (connections == 0)
            .then_some(())
            .ok_or(format!("{connections} connections"))
    })
    .await;
    check(&writing.await.expect(201), &guest, "u1");

    seat_is_given_up(&daemon, &guest).await;
}

async fn seat_is_given_up(daemon: &Daemon, player: &Player) {
    eventually("the seat is given up", async || {
        let seat = player.seat_in_room(daemon).await;
        (seat["status"] == "empty")
            .then_some(())
            .ok_or(seat.to_string())
    })
    .await;
}

async fn a_login_that_ends_ends_the_session_it_was_given_to(database: Database) {
    let mut daemon = plan(database).start().await;
    let guest = Player::opens(&daemon).await;
    let (client, _) = guest.connects(&daemon).await;
    let answer = logs_in(&daemon, &guest, "u1").await;
    drop(client);

    daemon.stop().await;
    let sql = "SELECT count(*) FROM app_sessions WHERE login_until > 1";
    assert_eq!(daemon.store().count(sql).await, 1);
    let sql = "UPDATE app_sessions SET login_until = 1";
    daemon.store().execute(sql).await;
    daemon.restart().await;

    refuses(&daemon, &token_of(&answer), 109).await;
}

//! Where tokens come from, and where they lead.

use serde_json::{Value, json};

use super::{asks_with, claims, comes_with, refused, seat_token, token_of};
use crate::support::{Client, Daemon, Database, Player, Refusal, eventually, on_both_databases};

on_both_databases!(
    every_seat_that_is_shown_has_a_token,
    another_device_takes_the_seat_and_the_first_hears_why,
    a_seat_token_over_http_opens_a_session_that_has_the_seat,
    who_is_away_comes_back_with_a_seat_token,
    a_seat_token_is_good_after_a_crash,
    a_session_with_two_seats_keeps_the_other,
    the_token_of_a_seat_that_was_given_up_says_so,
    an_earlier_stay_in_the_same_seat_is_over,
    two_teams_and_two_rooms_never_open_each_others_seats,
    a_client_that_stays_gets_a_new_token_in_time,
    a_token_that_expired_says_so_and_changes_nothing,
);

/// Looks whether a SEAT has a token for that very seat.
#[track_caller]
fn check(seat: &Value, session: &str, user: &str) {
    let claims = claims(seat["token"].as_str().unwrap_or_else(|| panic!("{seat}")));
    assert_eq!(claims["code"], seat["room"], "{seat}");
    assert_eq!(claims["seat"], seat["seat"], "{seat}");
    assert_eq!(claims["team"], seat["team"], "{seat}");
    assert_eq!(claims["session"], session, "{seat}");
    assert_eq!(claims["user"], user, "{seat}");
    assert_eq!(claims["iss"], "holdfast", "{seat}");
    let (iat, exp) = (
        claims["iat"].as_i64().unwrap(),
        claims["exp"].as_i64().unwrap(),
    );
    assert!((3600..=3601).contains(&(exp - iat)), "{seat}");
    let expires = seat["token_expires_at"].as_str().unwrap();
    let expires = chrono::DateTime::parse_from_rfc3339(expires).unwrap();
    assert_eq!(expires.timestamp(), exp, "{seat}");
}

async fn every_seat_that_is_shown_has_a_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let guest = json!({ "guest": { "name": "Ana" } });
    let opened = daemon.post("/v1/rooms", guest.clone()).send().await;
    let opened = opened.expect(201);
    let ana = Player::from(&opened);
    let joined = Player::tries_to_join(&daemon, &ana.room, json!({})).await;
    let joined = joined.expect(200);
    let bo = Player::from(&joined);
    let matched = daemon.post("/v1/quick-match", guest).send().await;
    let matched = matched.expect(200);
    let cy = Player::from(&matched);
    let seen = daemon.get("/v1/session").by(&ana.token).send().await;
    let seen = seen.expect(200);
    let (mut client, connected) = ana.connects(&daemon).await;
    let listed = client.calls("session.get", json!({})).await.unwrap();
    let over_socket = client.calls("room.open", json!({})).await.unwrap();

    check(&opened["seat"], &ana.session, &ana.user);
    check(&joined["seat"], &bo.session, &bo.user);
    check(&matched["seat"], &cy.session, &cy.user);
    check(&seen["seats"][0], &ana.session, &ana.user);
    check(&connected["seats"][0], &ana.session, &ana.user);
    check(&listed["seats"][0], &ana.session, &ana.user);
    check(&over_socket["seat"], &ana.session, &ana.user);
    for host in [Player::opens(&daemon).await, Player::opens(&daemon).await] {
        let room = json!({ "room": host.room });
        let joined = client.calls("room.join", room.clone()).await.unwrap();
        check(&joined["seat"], &ana.session, &ana.user);
        let claimed = client.calls("seat.claim", room).await.unwrap();
        check(&claimed["seat"], &ana.session, &ana.user);
    }
    assert!(daemon.metric("holdfast_seat_tokens_signed_total").await >= 10);
    let sql = "SELECT count(*) FROM room_seats WHERE token_generation <> tokens_ended";
    assert_eq!(daemon.store().count(sql).await, 0, "signing writes nothing");
}

async fn another_device_takes_the_seat_and_the_first_hears_why(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;
    let (mut first, token) = seat_token(&daemon, &guest).await;
    first.subscribes(&guest.channel).await.unwrap();

    let (mut second, data) = comes_with(&daemon, &token).await.unwrap();
    second.subscribes(&guest.channel).await.unwrap();
    second
        .publishes(&guest.channel, json!("mine"))
        .await
        .unwrap();

    assert_eq!(first.closed().await.0, 4501);
    assert_eq!(watching.hears_a_player(&host.channel).await["data"], "mine");
    assert_eq!(data["user"]["id"], guest.user);
    assert_ne!(data["session"]["id"], guest.session);
    assert_eq!(data["seats"][0]["seat"], 1);
    assert_eq!(data["seats"][0]["status"], "held");
    assert_eq!(guest.seat_in_room(&daemon).await["status"], "held");
    // The first device's session lives on without a seat, and its token opens it.
    let (mut again, seatless) = guest.connects(&daemon).await;
    assert_eq!(seatless["seats"], json!([]));
    let refused = again.subscribes(&guest.channel).await;
    assert_eq!(refused.unwrap_err().code(), 103);
    // The new session has a token of its own.
    let own = data["session"]["token"].as_str().unwrap();
    let (_third, data) = comes_with(&daemon, own).await.unwrap();
    assert_eq!(data["seats"][0]["seat"], 1);
    assert_eq!(second.closed().await.0, 4501);
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 2);
}

async fn a_seat_token_over_http_opens_a_session_that_has_the_seat(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut first, token) = seat_token(&daemon, &host).await;

    let (status, body) = asks_with(&daemon, &token).await;

    assert_eq!(status, 201, "{body}");
    assert_eq!(first.closed().await.0, 4501);
    assert_eq!(body["user"]["id"], host.user);
    assert_eq!(body["seats"][0]["room"], host.room);
    assert_eq!(body["seats"][0]["status"], "away");
    let session = body["session"]["token"].as_str().unwrap();
    let (_client, data) = comes_with(&daemon, session).await.unwrap();
    assert_eq!(data["seats"][0]["status"], "held");
    let body = json!({ "seat_token": token });
    let twice = daemon.post("/v1/sessions", body).by(session).send().await;
    assert_eq!(twice.refusal(), (400, "BAD_REQUEST"));
    let body = json!({ "seat_token": 7 });
    let number = daemon.post("/v1/sessions", body).send().await;
    assert_eq!(number.refusal(), (400, "BAD_REQUEST"));
}

async fn who_is_away_comes_back_with_a_seat_token(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;
    let (client, token) = seat_token(&daemon, &guest).await;
    client.drops_the_line();
    watching.hears_news(&host.channel, "seat.away").await;

    let (_client, data) = comes_with(&daemon, &token).await.unwrap();

    assert_eq!(data["seats"][0]["status"], "held");
    let back = watching.hears_news(&host.channel, "seat.back").await;
    assert_eq!(back["seat"], 1);
    assert_eq!(back["user"]["id"], guest.user);
}

async fn a_seat_token_is_good_after_a_crash(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let (held, away) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    let (_client, held_token) = seat_token(&daemon, &held).await;
    let (client, away_token) = seat_token(&daemon, &away).await;
    client.drops_the_line();

    daemon.restart().await;

    for (player, token) in [(&held, held_token), (&away, away_token)] {
        let (_client, data) = comes_with(&daemon, &token).await.unwrap();
        assert_eq!(data["seats"][0]["room"], player.room);
        daemon.restart().await;
        // What the reply said is committed, and so is the generation that it confirmed.
        let (_client, data) = comes_with(&daemon, &token_of(&data)).await.unwrap();
        assert_eq!(data["seats"][0]["room"], player.room);
        let refused = comes_with(&daemon, &token).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), 3500);
    }
}

async fn a_session_with_two_seats_keeps_the_other(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let (one, other) = (Player::opens(&daemon).await, Player::opens(&daemon).await);
    let (mut client, token) = seat_token(&daemon, &one).await;
    let room = json!({ "room": other.room });
    client.calls("room.join", room).await.unwrap();

    let (_second, data) = comes_with(&daemon, &token).await.unwrap();

    assert_eq!(client.closed().await.0, 4501);
    assert_eq!(data["seats"].as_array().unwrap().len(), 1);
    assert_eq!(data["seats"][0]["room"], one.room);
    let seat = daemon.room(&other.room).await["seats"][1].take();
    assert_eq!(
        (&seat["status"], &seat["user"]["id"]),
        (&json!("away"), &json!(one.user))
    );
    let (_first, data) = one.connects(&daemon).await;
    assert_eq!(data["seats"].as_array().unwrap().len(), 1);
    assert_eq!(data["seats"][0]["room"], other.room);
}

async fn the_token_of_a_seat_that_was_given_up_says_so(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let (mut client, token) = seat_token(&daemon, &guest).await;
    let room = json!({ "room": guest.room });
    client.calls("seat.release", room).await.unwrap();

    let seatless = comes_with(&daemon, &token).await.map(|_| ());
    let (status, body) = asks_with(&daemon, &token).await;
    let next = Player::joins(&daemon, &host.room).await;
    let anothers = comes_with(&daemon, &token).await.map(|_| ());

    let not_seated = Err(Refusal::error(1007, "NOT_SEATED"));
    assert_eq!(seatless, not_seated);
    assert_eq!((status, &body["code"]), (403, &json!("NOT_SEATED")));
    assert_eq!(next.seat, guest.seat);
    assert_eq!(anothers, not_seated);
    assert_eq!(next.seat_in_room(&daemon).await["user"]["id"], next.user);
    assert_eq!(refused(&daemon, "released").await, 3);
}

async fn an_earlier_stay_in_the_same_seat_is_over(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, earlier) = seat_token(&daemon, &host).await;
    let room = json!({ "room": host.room });
    client.calls("seat.release", room.clone()).await.unwrap();
    let again = client.calls("seat.claim", room).await.unwrap();
    assert_eq!(again["seat"]["seat"], 0);

    let refusal = comes_with(&daemon, &earlier).await.map(|_| ());

    assert_eq!(refusal.unwrap_err().code(), 3500);
    assert!(client.is_open());
    assert_eq!(refused(&daemon, "ended").await, 1);
    assert_eq!(refused(&daemon, "reused").await, 0);
    assert!(comes_with(&daemon, &token_of(&again)).await.is_ok());
}

async fn two_teams_and_two_rooms_never_open_each_others_seats(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.match.seats", "2")
        .set("kind.match.teams", "{blue = 1, red = 1}")
        .start()
        .await;
    let mut players = Vec::new();
    for _ in 0..2 {
        let wish = json!({ "kind": "match", "team": "red" });
        let red = Player::opens_with(&daemon, wish).await;
        let wish = json!({ "team": "blue" });
        let blue = Player::tries_to_join(&daemon, &red.room, wish).await;
        players.extend([red, Player::from(&blue.expect(200))]);
    }
    let mut tokens = Vec::new();
    for player in &players {
        tokens.push(seat_token(&daemon, player).await.1);
    }

    for (player, token) in players.iter().zip(&tokens).rev() {
        let (_client, data) = comes_with(&daemon, token).await.unwrap();
        assert_eq!(data["user"]["id"], player.user);
        assert_eq!(data["seats"].as_array().unwrap().len(), 1);
        assert_eq!(data["seats"][0]["room"], player.room);
        assert_eq!(data["seats"][0]["seat"].as_u64(), player.seat);
    }
    let sql = "SELECT count(DISTINCT user_id) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 4);
}

async fn a_client_that_stays_gets_a_new_token_in_time(database: Database) {
    let daemon = Daemon::on(database)
        .set("seat_token.ttl", "4s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (client, token) = seat_token(&daemon, &host).await;
    let pushes = |client: &Client| {
        let heard = client.heard_in_order().into_iter();
        let messages = heard.filter_map(|mut frame| {
            let message = frame["push"]["message"]["data"].take();
            message.is_object().then_some(message)
        });
        messages.collect::<Vec<Value>>()
    };

    let pushed = eventually("two pushes", async || {
        let pushed = pushes(&client);
        (pushed.len() >= 2)
            .then_some(pushed)
            .ok_or("fewer".to_owned())
    })
    .await;

    let iat = |token: &str| claims(token)["iat"].as_i64().unwrap();
    for push in &pushed {
        assert_eq!(push["type"], "seat.token");
        let seat = &push["seat"];
        assert_eq!(seat["room"], host.room);
        assert_eq!(seat["status"], "held");
        let fresh = seat["token"].as_str().unwrap();
        assert!(iat(fresh) > iat(&token), "{push}");
        assert_eq!(claims(fresh)["generation"], claims(&token)["generation"]);
    }
    let last = pushed.last().unwrap()["seat"]["token"].as_str().unwrap();
    let (_client, data) = comes_with(&daemon, last).await.unwrap();
    assert_eq!(data["seats"][0]["room"], host.room);
}

async fn a_token_that_expired_says_so_and_changes_nothing(database: Database) {
    let daemon = Daemon::on(database)
        .set("seat_token.ttl", "1s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let (client, token) = seat_token(&daemon, &host).await;
    eventually("the token has expired", async || {
        let left = claims(&token)["exp"].as_i64().unwrap() - chrono::Utc::now().timestamp();
        (left < 0).then_some(()).ok_or(format!("{left} s are left"))
    })
    .await;

    let over_socket = comes_with(&daemon, &token).await.map(|_| ());
    let (status, body) = asks_with(&daemon, &token).await;

    assert_eq!(over_socket, Err(Refusal::error(109, "TOKEN_EXPIRED")));
    assert_eq!((status, &body["code"]), (401, &json!("TOKEN_EXPIRED")));
    assert_eq!(refused(&daemon, "expired").await, 2);
    assert!(client.is_open());
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
    let sql = "SELECT count(*) FROM app_sessions";
    assert_eq!(daemon.store().count(sql).await, 1);
}

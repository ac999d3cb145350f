//! Who sits where: taking a seat, keeping it, giving it up.

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Database, Player, Refusal, eventually, on_both_databases};

on_both_databases!(
    a_full_room_says_so,
    a_taken_seat_says_so,
    a_seat_that_does_not_exist_says_so,
    asking_for_another_seat_than_the_one_held_is_refused,
    joining_again_answers_with_the_seat_held,
    a_team_fills_its_own_seats,
    a_spectator_hears_and_does_not_play,
    who_is_not_seated_may_neither_listen_nor_publish,
    a_seat_released_is_free_at_once,
    leaving_a_room_frees_its_seat,
    a_session_that_ends_gives_up_its_seats,
    a_room_and_its_seats_are_seen_over_the_socket_as_over_http,
    one_session_sits_in_several_rooms,
);

on_both_databases!(
    a_lost_line_turns_the_seat_away_and_coming_back_turns_it_back,
    a_hold_that_ends_releases_the_seat_once,
    who_is_late_finds_the_seat_given_to_another,
    a_newer_connection_takes_over_and_the_older_hears_why,
    a_seat_claimed_without_a_connection_is_away_with_its_hold_running,
);

async fn opens_duel(daemon: &Daemon) -> Player {
    Player::opens_with(daemon, json!({ "kind": "duel" })).await
}

/// A guest who has a session and no seat.
async fn guest(daemon: &Daemon) -> String {
    let body = json!({ "guest": { "name": "Cy" } });
    let answer = daemon.post("/v1/sessions", body).send().await.expect(201);
    answer["session"]["token"].as_str().unwrap().to_owned()
}

async fn a_full_room_says_so(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = opens_duel(&daemon).await;
    let second = Player::joins(&daemon, &host.room).await;

    let third = Player::tries_to_join(&daemon, &host.room, json!({})).await;
    let (mut client, _) = Client::connect(daemon.address(), &guest(&daemon).await).await;
    let over_socket = client
        .calls("room.join", json!({ "room": host.room }))
        .await;

    assert_eq!(second.seat, Some(1));
    assert_eq!(third.refusal(), (409, "ROOM_FULL"));
    assert_eq!(over_socket, Err(Refusal::error(1002, "ROOM_FULL")));
    assert_eq!(daemon.room(&host.room).await["status"], "ready");
}

async fn a_taken_seat_says_so(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "seat": 3 })).await;

    let answer = Player::tries_to_join(&daemon, &host.room, json!({ "seat": 3 })).await;

    assert_eq!(host.seat, Some(3));
    assert_eq!(answer.refusal(), (409, "SEAT_TAKEN"));
}

async fn a_seat_that_does_not_exist_says_so(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;

    let joining = Player::tries_to_join(&daemon, &host.room, json!({ "seat": 6 })).await;
    let no_team = Player::tries_to_join(&daemon, &host.room, json!({ "team": "red" })).await;
    let body = json!({ "seat": 6, "guest": { "name": "Ana" } });
    let opening = daemon.post("/v1/rooms", body).send().await;

    for answer in [joining, no_team, opening] {
        assert_eq!(answer.refusal(), (404, "SEAT_NOT_FOUND"));
    }
}

async fn asking_for_another_seat_than_the_one_held_is_refused(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;

    let join = format!("/v1/rooms/{}/join", host.room);
    let body = json!({ "seat": 4 });
    let answer = daemon.post(&join, body).by(&host.token).send().await;
    let (mut client, _) = host.connects(&daemon).await;
    let wish = json!({ "room": host.room, "seat": 4 });
    let over_socket = client.calls("seat.claim", wish).await;

    assert_eq!(answer.refusal(), (409, "ALREADY_SEATED"));
    assert_eq!(over_socket, Err(Refusal::error(1006, "ALREADY_SEATED")));
    assert_eq!(host.seat_in_room(&daemon).await["status"], "held");
}

async fn joining_again_answers_with_the_seat_held(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens_with(&daemon, json!({ "seat": 2 })).await;

    let join = format!("/v1/rooms/{}/join", host.room);
    for body in [json!({}), json!({ "seat": 2 })] {
        let answer = daemon.post(&join, body).by(&host.token).send().await;
        assert_eq!(answer.expect(200)["seat"]["seat"], 2);
    }
}

async fn a_team_fills_its_own_seats(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.match.seats", "4")
        .set("kind.match.teams", "{blue = 2, red = 2}")
        .start()
        .await;
    let wish = json!({ "kind": "match", "team": "red" });
    let host = Player::opens_with(&daemon, wish).await;

    let second = Player::tries_to_join(&daemon, &host.room, json!({ "team": "red" })).await;
    let third = Player::tries_to_join(&daemon, &host.room, json!({ "team": "red" })).await;
    let other = Player::tries_to_join(&daemon, &host.room, json!({ "team": "blue" })).await;

    assert_eq!(host.seat, Some(2));
    assert_eq!(second.expect(200)["seat"]["team"], "red");
    assert_eq!(third.refusal(), (409, "ROOM_FULL"));
    assert_eq!(other.expect(200)["seat"]["seat"], 0);
}

async fn a_spectator_hears_and_does_not_play(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.spectators", "1")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let wish = json!({ "spectate": true });

    let answer = Player::tries_to_join(&daemon, &host.room, wish.clone()).await;
    let body = answer.expect(200);
    let watcher = Player::from(&body);
    let mut watching = watcher.sits_down(&daemon).await;
    let mut playing = host.sits_down(&daemon).await;
    playing
        .publishes(&host.channel, json!("move"))
        .await
        .unwrap();

    assert_eq!(body["seat"], Value::Null);
    assert_eq!(watching.hears_a_player(&host.channel).await["data"], "move");
    let refusal = watching.publishes(&host.channel, json!("me too")).await;
    assert_eq!(refusal.unwrap_err().code(), 103);
}

async fn who_is_not_seated_may_neither_listen_nor_publish(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, _) = Client::connect(daemon.address(), &guest(&daemon).await).await;

    let subscribing = client.subscribes(&host.channel).await;
    let publishing = client.publishes(&host.channel, json!("hi")).await;
    let room = json!({ "room": host.room });
    let releasing = client.calls("seat.release", room).await;

    assert_eq!(subscribing.unwrap_err().code(), 103);
    assert_eq!(publishing.unwrap_err().code(), 103);
    assert_eq!(releasing, Err(Refusal::error(1007, "NOT_SEATED")));
}

async fn a_seat_released_is_free_at_once(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = opens_duel(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut host_client = host.sits_down(&daemon).await;
    let mut guest_client = guest.sits_down(&daemon).await;

    let room = json!({ "room": host.room });
    let answer = guest_client.calls("seat.release", room).await;
    let next = Player::joins(&daemon, &host.room).await;

    assert_eq!(answer, Ok(json!({})));
    assert_eq!(next.seat, guest.seat);
    let news = host_client.hears_news(&host.channel, "seat.released").await;
    assert_eq!(news["seat"], 1);
    assert_eq!(news["user"]["id"], guest.user);
    let news = host_client.hears_news(&host.channel, "seat.held").await;
    assert_eq!(news["user"]["id"], next.user);
}

async fn leaving_a_room_frees_its_seat(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, _) = host.connects(&daemon).await;

    let room = json!({ "room": host.room });
    let answer = client.calls("room.leave", room).await;

    assert_eq!(answer, Ok(json!({})));
    assert_eq!(host.seat_in_room(&daemon).await["status"], "empty");
    let seen = client.calls("session.get", json!({})).await.unwrap();
    assert_eq!(seen["seats"], json!([]));
}

async fn a_session_that_ends_gives_up_its_seats(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let mut client = host.sits_down(&daemon).await;

    let end = daemon.delete("/v1/session").by(&host.token);
    let answer = end.send().await;

    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(client.closed().await.0, 4500);
    assert_eq!(host.seat_in_room(&daemon).await["status"], "empty");
    let mut again = Client::dial(daemon.address()).await;
    assert_eq!(again.connects(&host.token).await.unwrap_err().code(), 4500);
    let seen = daemon.get("/v1/session").by(&host.token).send().await;
    assert_eq!(seen.status, 401, "{seen:?}");
}

async fn a_room_and_its_seats_are_seen_over_the_socket_as_over_http(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let (mut client, connected) = host.connects(&daemon).await;

    let room = json!({ "room": host.room });
    let over_socket = client.calls("room.get", room).await.unwrap();
    let session = client.calls("session.get", json!({})).await.unwrap();

    assert_eq!(over_socket["room"], daemon.room(&host.room).await);
    // Their tokens may have been signed in different seconds.
    let mut seats = [connected["seats"].clone(), session["seats"].clone()];
    for seats in &mut seats {
        for key in ["token", "token_expires_at"] {
            assert!(seats[0][key].take().is_string());
        }
    }
    assert_eq!(seats[0], seats[1]);
    let seat = &connected["seats"][0];
    assert_eq!(seat["room"], host.room);
    assert_eq!(seat["channel"], host.channel);
    assert_eq!(seat["status"], "held");
    assert_eq!(seat["hold_seconds"], 300);
}

async fn one_session_sits_in_several_rooms(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let hosts = [Player::opens(&daemon).await, opens_duel(&daemon).await];
    let (mut client, _) = Client::connect(daemon.address(), &guest(&daemon).await).await;

    for host in &hosts {
        let room = json!({ "room": host.room });
        let answer = client.calls("room.join", room).await.unwrap();
        assert_eq!(answer["seat"]["seat"], 1);
        assert_eq!(answer["seat"]["status"], "held");
        assert_eq!(answer.get("session"), None);
        client.subscribes(&host.channel).await.unwrap();
    }

    let seen = client.calls("session.get", json!({})).await.unwrap();
    assert_eq!(seen["seats"].as_array().unwrap().len(), 2);
}

async fn a_lost_line_turns_the_seat_away_and_coming_back_turns_it_back(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;
    let playing = guest.sits_down(&daemon).await;

    playing.drops_the_line();
    let away = watching.hears_news(&host.channel, "seat.away").await;
    let status_away = guest.seat_in_room(&daemon).await["status"].clone();
    let (_playing, data) = guest.connects(&daemon).await;
    let back = watching.hears_news(&host.channel, "seat.back").await;

    assert_eq!(away["seat"], 1);
    assert_eq!(away["user"]["id"], guest.user);
    assert_eq!(away["hold_seconds"], 300);
    assert_eq!(status_away, "away");
    assert_eq!(data["seats"][0]["seat"], 1);
    assert_eq!(back["seat"], 1);
    assert_eq!(guest.seat_in_room(&daemon).await["status"], "held");
}

async fn a_hold_that_ends_releases_the_seat_once(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.grace", "1s")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let mut watching = host.sits_down(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let playing = guest.sits_down(&daemon).await;

    playing.drops_the_line();
    let released = watching.hears_news(&host.channel, "seat.released").await;
    watching
        .publishes(&host.channel, json!("later"))
        .await
        .unwrap();
    watching.hears_a_player(&host.channel).await;

    assert_eq!(released["seat"], 1);
    assert_eq!(released["user"]["id"], guest.user);
    let heard = watching.heard_on(&host.channel);
    let releases = heard
        .iter()
        .filter(|publication| publication["data"]["type"] == "seat.released");
    assert_eq!(releases.count(), 1);
    let sql = "SELECT count(*) FROM room_seats";
    assert_eq!(daemon.store().count(sql).await, 1);
}

async fn who_is_late_finds_the_seat_given_to_another(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.duel.grace", "1s")
        .start()
        .await;
    let host = opens_duel(&daemon).await;
    let mut watching = host.sits_down(&daemon).await;
    let late = Player::joins(&daemon, &host.room).await;
    late.sits_down(&daemon).await.drops_the_line();
    watching.hears_news(&host.channel, "seat.released").await;

    let next = Player::joins(&daemon, &host.room).await;
    let (mut client, data) = late.connects(&daemon).await;

    assert_eq!(next.seat, late.seat);
    assert_eq!(data["seats"], json!([]));
    assert_eq!(
        client.subscribes(&late.channel).await.unwrap_err().code(),
        103
    );
}

async fn a_newer_connection_takes_over_and_the_older_hears_why(database: Database) {
    let daemon = Daemon::on(database).start().await;
    let host = Player::opens(&daemon).await;
    let guest = Player::joins(&daemon, &host.room).await;
    let mut watching = host.sits_down(&daemon).await;
    let mut older = guest.sits_down(&daemon).await;

    let mut newer = guest.sits_down(&daemon).await;
    newer.publishes(&host.channel, json!("mine")).await.unwrap();

    assert_eq!(older.closed().await.0, 4501);
    assert_eq!(watching.hears_a_player(&host.channel).await["data"], "mine");
    let news = watching.heard_on(&host.channel);
    assert!(
        news.iter()
            .all(|publication| publication["data"]["type"] != "seat.away"),
        "the seat was never away: {news:?}"
    );
    assert!(newer.is_open());
    let actors = eventually("the older connection is gone", async || {
        let actors = daemon.actors().await;
        let is_gone = actors.connections == 2;
        is_gone.then_some(actors).ok_or(format!("{actors:?}"))
    })
    .await;
    assert_eq!(actors.sessions, 2);
}

async fn a_seat_claimed_without_a_connection_is_away_with_its_hold_running(database: Database) {
    let daemon = Daemon::on(database)
        .set("kind.table.grace", "1s")
        .start()
        .await;
    let body = json!({ "guest": { "name": "Ana" } });

    let answer = daemon.post("/v1/rooms", body).send().await.expect(201);

    assert_eq!(answer["seat"]["status"], "away");
    assert_eq!(answer["room"]["seats"][0]["status"], "away");
    let code = answer["room"]["code"].as_str().unwrap();
    eventually("the seat is free", async || {
        let seat = daemon.room(code).await["seats"][0].take();
        let is_free = seat["status"] == "empty" && seat["user"] == Value::Null;
        is_free.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

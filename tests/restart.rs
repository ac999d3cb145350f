//! The first moments of a run: players come while the rooms of the last run are rows still.

use futures_util::future::join_all;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::{
    Client, Daemon, Database, Issuer, Plan, Player, eventually, on_both_databases,
};

on_both_databases!(
    a_room_that_is_a_row_still_is_found_and_started_once,
    a_quick_match_fills_a_room_that_is_a_row_still,
    a_player_comes_back_by_each_token_before_the_turn_of_its_room,
    a_login_that_sits_somewhere_is_that_session_before_its_turn,
    whoever_leaves_before_the_turn_of_a_room_is_gone_from_it,
    an_operator_sees_the_seats_of_rooms_that_are_rows_still,
    a_stop_before_all_rooms_are_live_keeps_every_history,
    a_crash_before_all_rooms_are_live_passes_no_old_history_off_as_whole,
    a_start_that_is_stopped_before_the_hub_is_ready_costs_no_history,
    a_history_that_was_removed_does_not_come_back_by_a_stop,
    a_room_in_which_nobody_sits_keeps_its_history_over_a_planned_stop,
    a_room_that_was_left_before_a_restart_closes,
    seats_of_a_kind_that_is_configured_no_more_end_with_their_holds,
    holds_of_rooms_that_nobody_asks_for_end_in_time,
    a_start_waits_for_a_database_that_is_locked,
    thousands_of_seats_and_histories_are_back,
);

/// As good as never: a room is started only because somebody asks for it.
const NEVER: &str = "1h";

const SECRET: &str = "a-secret-of-thirty-two-characters";

/// What a subscriber knows of a stream.
struct Place {
    epoch: String,
    offset: u64,
}

fn late(database: Database) -> Plan {
    Daemon::on(database).set("faults.restore_delay", NEVER)
}

/// Subscribes and says something. The place before that.
async fn says(daemon: &Daemon, player: &Player, word: &str) -> Place {
    let (mut client, _) = player.connects(daemon).await;
    let subscribed = client.subscribes(&player.channel).await.unwrap();
    let said = client.publishes(&player.channel, json!(word)).await;
    said.unwrap();
    Place {
        epoch: subscribed["epoch"].as_str().unwrap().to_owned(),
        offset: subscribed["offset"].as_u64().unwrap_or(0),
    }
}

/// What players have said since, if the stream was recovered.
async fn recovers(daemon: &Daemon, player: &Player, since: &Place) -> Option<Vec<Value>> {
    let (mut client, _) = player.connects(daemon).await;
    let channel = &player.channel;
    let recovered = client.recovers(channel, &since.epoch, since.offset).await;
    let recovered = recovered.unwrap();
    if recovered["recovered"] != true {
        return None;
    }
    let missed = recovered["publications"].as_array().cloned();
    let by_players = missed.unwrap_or_default().into_iter();
    let by_players = by_players.filter(|one| one["tags"]["from"] != "hub");
    Some(by_players.map(|mut one| one["data"].take()).collect())
}

async fn is_away(daemon: &Daemon, player: &Player) {
    assert_eq!(player.seat_in_room(daemon).await["status"], "away");
}

async fn a_room_that_is_a_row_still_is_found_and_started_once(database: Database) {
    let mut daemon = late(database).start().await;
    let player = Player::opens(&daemon).await;
    let other = Player::opens(&daemon).await;

    daemon.kill();
    daemon.restart().await;
    assert_eq!(daemon.actors().await.rooms, 0);
    let looks = join_all((0..20).map(|_| daemon.room(&player.room))).await;

    for room in looks {
        assert_eq!(room["seats"][0]["user"]["id"], player.user);
    }
    assert_eq!(daemon.actors().await.rooms, 1);
    is_away(&daemon, &other).await;
}

async fn a_quick_match_fills_a_room_that_is_a_row_still(database: Database) {
    let mut daemon = late(database).start().await;
    let player = Player::opens(&daemon).await;

    daemon.kill();
    daemon.restart().await;
    let guest = json!({ "guest": { "name": "Bo" } });
    let matched = daemon.post("/v1/quick-match", guest).send().await;

    let matched = Player::from(&matched.expect(200));
    assert_eq!(matched.room, player.room);
    assert_ne!(matched.seat, player.seat);
    is_away(&daemon, &player).await;
}

async fn a_player_comes_back_by_each_token_before_the_turn_of_its_room(database: Database) {
    let mut daemon = late(database).start().await;
    let by_session = Player::opens(&daemon).await;
    let by_seat = Player::opens(&daemon).await;
    let (_client, data) = by_seat.connects(&daemon).await;
    let seat_token = data["seats"][0]["token"].as_str().unwrap().to_owned();

    daemon.kill();
    daemon.restart().await;

    let (_client, data) = by_session.connects(&daemon).await;
    assert_eq!(data["session"]["id"], by_session.session);
    assert_eq!(data["seats"][0]["room"], by_session.room);
    assert_eq!(data["seats"][0]["status"], "held");
    assert_eq!(by_session.seat_in_room(&daemon).await["status"], "held");
    let (mut client, connected) = Client::connect(daemon.address(), &seat_token).await;
    assert_eq!(connected["data"]["seats"][0]["room"], by_seat.room);
    client.subscribes(&by_seat.channel).await.unwrap();
    assert_eq!(by_seat.seat_in_room(&daemon).await["status"], "held");
    // The session that had the seat has it no more.
    let before = daemon.get("/v1/session").by(&by_seat.token).send().await;
    assert_eq!(before.expect(200)["seats"], json!([]));
}

async fn a_login_that_sits_somewhere_is_that_session_before_its_turn(database: Database) {
    let mut daemon = late(database).set("auth.hmac_secret", SECRET).start().await;
    let login = Issuer::secret(Algorithm::HS256, SECRET).lets_in("ana");
    let opened = daemon.post("/v1/rooms", json!({})).by(&login).send().await;
    let ana = Player::from(&opened.expect(201));

    daemon.kill();
    daemon.restart().await;
    let join = format!("/v1/rooms/{}/join", ana.room);
    let joined = daemon.post(&join, json!({})).by(&login).send().await;
    daemon.kill();
    daemon.restart().await;
    let (_client, connected) = Client::connect(daemon.address(), &login).await;

    let joined = joined.expect(200);
    assert_eq!(joined["session"]["id"], ana.session);
    assert_eq!(joined["seat"]["seat"].as_u64(), ana.seat);
    assert_eq!(connected["data"]["session"]["id"], ana.session);
    assert_eq!(connected["data"]["seats"][0]["room"], ana.room);
}

async fn whoever_leaves_before_the_turn_of_a_room_is_gone_from_it(database: Database) {
    let mut daemon = late(database).start().await;
    let stays = Player::opens(&daemon).await;
    let goes = Player::joins(&daemon, &stays.room).await;

    daemon.kill();
    daemon.restart().await;
    let ended = daemon.delete("/v1/session").by(&goes.token).send().await;

    assert_eq!(ended.status, 204);
    assert_eq!(goes.seat_in_room(&daemon).await["status"], "empty");
    is_away(&daemon, &stays).await;
    let refused = daemon.get("/v1/session").by(&goes.token).send().await;
    assert_eq!(refused.refusal(), (401, "SESSION_ENDED"));
}

async fn an_operator_sees_the_seats_of_rooms_that_are_rows_still(database: Database) {
    let mut daemon = late(database).start().await;
    let player = Player::opens(&daemon).await;
    let other = Player::joins(&daemon, &player.room).await;

    daemon.kill();
    daemon.restart().await;
    let shows = async |daemon: &Daemon, expected: [f64; 5]| {
        let metrics = daemon.metrics().await;
        let shown = [
            "holdfast_rooms",
            "holdfast_rooms_dormant",
            "holdfast_seats{status=\"held\"}",
            "holdfast_seats{status=\"away\"}",
            "holdfast_sessions{phase=\"away\"}",
        ];
        let shown = shown.map(|name| metrics.value(name));
        let is_shown = shown.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.5);
        is_shown.then_some(()).ok_or(format!("{shown:?}"))
    };

    shows(&daemon, [1.0, 1.0, 0.0, 2.0, 2.0]).await.unwrap();
    let _client = player.sits_down(&daemon).await;
    shows(&daemon, [1.0, 0.0, 1.0, 1.0, 1.0]).await.unwrap();
    is_away(&daemon, &other).await;
    // And once everything is live.
    daemon.kill();
    daemon.reconfigure("faults.restore_delay", "0s");
    daemon.restart().await;
    eventually("all rooms are live", async || {
        shows(&daemon, [1.0, 0.0, 0.0, 2.0, 2.0]).await
    })
    .await;
    eventually("the actors are there", async || {
        let actors = daemon.actors().await;
        match (actors.rooms, actors.sessions) {
            (1, 2) => Ok(()),
            _ => Err(format!("{actors:?}")),
        }
    })
    .await;
}

async fn a_stop_before_all_rooms_are_live_keeps_every_history(database: Database) {
    let mut daemon = late(database).start().await;
    let [asleep, awake] = [Player::opens(&daemon).await, Player::opens(&daemon).await];
    let of_asleep = says(&daemon, &asleep, "first").await;
    let of_awake = says(&daemon, &awake, "first").await;

    // Of the two, one is started in the second run, and moves on there.
    assert!(daemon.stop().await.success());
    daemon.restart().await;
    says(&daemon, &awake, "second").await;
    assert!(daemon.stop().await.success());
    daemon.restart().await;

    let missed = recovers(&daemon, &asleep, &of_asleep).await;
    assert_eq!(missed, Some(vec![json!("first")]));
    let missed = recovers(&daemon, &awake, &of_awake).await;
    assert_eq!(missed, Some(vec![json!("first"), json!("second")]));
}

async fn a_crash_before_all_rooms_are_live_passes_no_old_history_off_as_whole(database: Database) {
    let mut daemon = late(database).start().await;
    let [asleep, awake] = [Player::opens(&daemon).await, Player::opens(&daemon).await];
    let of_asleep = says(&daemon, &asleep, "first").await;
    let of_awake = says(&daemon, &awake, "first").await;

    assert!(daemon.stop().await.success());
    daemon.restart().await;
    says(&daemon, &awake, "lost").await;
    daemon.kill();
    daemon.restart().await;

    assert_eq!(recovers(&daemon, &awake, &of_awake).await, None);
    assert_eq!(recovers(&daemon, &asleep, &of_asleep).await, None);
    // Nor after a planned stop that follows.
    let of_asleep_now = says(&daemon, &asleep, "second").await;
    assert!(daemon.stop().await.success());
    daemon.restart().await;
    assert_eq!(recovers(&daemon, &awake, &of_awake).await, None);
    assert_eq!(recovers(&daemon, &asleep, &of_asleep).await, None);
    let missed = recovers(&daemon, &asleep, &of_asleep_now).await;
    assert_eq!(missed, Some(vec![json!("second")]));
}

async fn a_start_that_is_stopped_before_the_hub_is_ready_costs_no_history(database: Database) {
    let mut daemon = late(database).start().await;
    let player = Player::opens(&daemon).await;
    let place = says(&daemon, &player, "first").await;
    assert!(daemon.stop().await.success());

    // It has begun its run, and cannot read who sits where.
    let hidden = "ALTER TABLE session_tokens RENAME TO session_tokens_hidden";
    daemon.store().execute(hidden).await;
    daemon.begins_to_start();
    eventually("the run has begun", async || {
        let beats = "SELECT count(*) FROM hub_clock WHERE clean_stop";
        let is_clean = daemon.store().count(beats).await == 1;
        let has_begun = daemon.log().contains("a read failed");
        (is_clean && has_begun)
            .then_some(())
            .ok_or(format!("{is_clean} {has_begun}"))
    })
    .await;
    let status = daemon.stop().await;
    let shown = "ALTER TABLE session_tokens_hidden RENAME TO session_tokens";
    daemon.store().execute(shown).await;
    daemon.restart().await;

    assert!(status.success(), "{status:?}");
    let missed = recovers(&daemon, &player, &place).await;
    assert_eq!(missed, Some(vec![json!("first")]));
}

async fn a_history_that_was_removed_does_not_come_back_by_a_stop(database: Database) {
    let mut daemon = late(database).with_api_key().start().await;
    let player = Player::opens(&daemon).await;
    let place = says(&daemon, &player, "secret").await;

    assert!(daemon.stop().await.success());
    daemon.restart().await;
    let missed = recovers(&daemon, &player, &place).await;
    assert_eq!(missed, Some(vec![json!("secret")]));
    let remove = json!({ "channel": player.channel });
    let removed = daemon
        .post_as_game("/api/history_remove", remove)
        .send()
        .await;
    removed.expect(200);
    assert!(daemon.stop().await.success());
    daemon.restart().await;

    let (mut client, _) = player.connects(&daemon).await;
    client.subscribes(&player.channel).await.unwrap();
    let page = json!({ "channel": player.channel, "limit": 100 });
    let page = client.asks("history", page).await.unwrap();
    let kept = page["publications"].as_array().cloned().unwrap_or_default();
    assert!(kept.iter().all(|one| one["data"] != "secret"), "{page}");
}

async fn a_room_in_which_nobody_sits_keeps_its_history_over_a_planned_stop(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    let place = says(&daemon, &player, "first").await;
    let (mut client, _) = player.connects(&daemon).await;
    let leave = json!({ "room": player.room });
    client.calls("room.leave", leave.clone()).await.unwrap();

    // Over two of them, whether or not anybody has looked meanwhile.
    for _ in 0..2 {
        assert!(daemon.stop().await.success());
        daemon.restart().await;
    }
    let next = Player::joins(&daemon, &player.room).await;
    let missed = recovers(&daemon, &next, &place).await;

    assert_eq!(missed, Some(vec![json!("first")]));
}

async fn a_room_that_was_left_before_a_restart_closes(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.empty_ttl", "2s")
        .start()
        .await;
    for is_planned in [false, true] {
        let player = Player::opens(&daemon).await;
        let (mut client, _) = player.connects(&daemon).await;
        let leave = json!({ "room": player.room });
        client.calls("room.leave", leave).await.unwrap();
        match is_planned {
            true => assert!(daemon.stop().await.success()),
            false => daemon.kill(),
        }
        daemon.restart().await;
        eventually("the room is closed", async || {
            let open = "SELECT count(*) FROM rooms WHERE closed_at IS NULL";
            let open = daemon.store().count(open).await;
            (open == 0).then_some(()).ok_or(format!("{open} are open"))
        })
        .await;
    }
}

async fn seats_of_a_kind_that_is_configured_no_more_end_with_their_holds(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "2s")
        .set("kind.duel.grace", "2s")
        .start()
        .await;
    let player = Player::opens_with(&daemon, json!({ "kind": "duel" })).await;
    // As if it had been opened as a kind that was taken out of the configuration since.
    daemon.kill();
    let renamed = "UPDATE rooms SET kind = 'quartet', created_at = 1";
    daemon.store().execute(renamed).await;
    daemon.restart().await;

    // Its session is live, whatever is left of the hold by now.
    let session = daemon.get("/v1/session").by(&player.token).send().await;
    session.expect(200);
    eventually("the room is closed and its seat free", async || {
        let store = daemon.store();
        let seats = store.count("SELECT count(*) FROM room_seats").await;
        let open = "SELECT count(*) FROM rooms WHERE closed_at IS NULL";
        match (seats, store.count(open).await) {
            (0, 0) => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await;
    let session = daemon.get("/v1/session").by(&player.token).send().await;
    assert_eq!(session.expect(200)["seats"], json!([]));
}

async fn holds_of_rooms_that_nobody_asks_for_end_in_time(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    for _ in 0..5 {
        Player::opens(&daemon).await;
    }

    daemon.kill();
    for sql in [
        "UPDATE rooms SET grace = 1000",
        "UPDATE room_seats SET status = 'held', away_since = NULL, hold_until = NULL",
    ] {
        daemon.store().execute(sql).await;
    }
    daemon.restart().await;

    eventually("all holds are over", async || {
        let seats = "SELECT count(*) FROM room_seats";
        let seats = daemon.store().count(seats).await;
        (seats == 0)
            .then_some(())
            .ok_or(format!("{seats} are left"))
    })
    .await;
    let released = "holdfast_seats_released_total{reason=\"hold_over\"}";
    assert_eq!(daemon.metric(released).await, 5);
}

async fn a_start_waits_for_a_database_that_is_locked(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    daemon.kill();

    let lock = daemon.store().lock_seats().await;
    daemon.begins_to_start();
    // Longer than a command would be tried.
    eventually("the start has failed twice", async || {
        let failures = daemon.log().matches("the run could not begin").count();
        (failures > 2)
            .then_some(())
            .ok_or(format!("{failures} so far"))
    })
    .await;
    lock.end().await;
    daemon.started().await;

    is_away(&daemon, &player).await;
}

async fn thousands_of_seats_and_histories_are_back(database: Database) {
    const ROOMS: i64 = 2_000;
    let mut daemon = Daemon::on(database).start().await;
    let player = Player::opens(&daemon).await;
    let place = says(&daemon, &player, "first").await;
    assert!(daemon.stop().await.success());
    daemon.store().multiply(&player.room, ROOMS).await;

    daemon.restart().await;
    let missed = recovers(&daemon, &player, &place).await;
    assert_eq!(missed, Some(vec![json!("first")]));
    let seats = ROOMS + 1;
    eventually("all are live", async || {
        let metrics = daemon.metrics().await;
        let dormant = metrics.value("holdfast_rooms_dormant");
        let away = metrics.value("holdfast_seats{status=\"away\"}");
        let actors = daemon.actors().await;
        let (rooms, sessions) = (actors.rooms as i64, actors.sessions as i64);
        let is_live = dormant < 0.5 && (rooms, sessions) == (seats, seats);
        is_live
            .then_some(())
            .ok_or(format!("{actors:?}, {dormant} dormant, {away} away"))
    })
    .await;

    let room = daemon
        .store()
        .text("SELECT code FROM rooms ORDER BY code LIMIT 1");
    let room = daemon.room(&room.await.unwrap()).await;
    assert_ne!(room["seats"][0]["status"], "empty");
    // And they are written out once more.
    assert!(daemon.stop().await.success());
    let written = "SELECT count(DISTINCT room_id) FROM room_publications";
    assert_eq!(daemon.store().count(written).await, seats);
}

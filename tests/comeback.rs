//! Everybody comes back at once: nobody loses a seat, and those with a seat come first.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use jsonwebtoken::Algorithm;

use crate::support::{
    Client, Daemon, Database, Issuer, Player, Refusal, eventually, on_both_databases, repeated,
};

on_both_databases!(
    hundreds_are_back_in_their_seats_at_once_after_a_crash,
    who_must_wait_is_told_when_to_come_and_keeps_the_seat,
    by_seat_token_and_by_login_the_seated_go_first_and_lose_nothing_by_the_wait,
    holds_that_end_while_everything_is_restored_leave_no_session_with_a_seat,
    a_thousand_seats_held_and_away_survive_crash_after_crash,
);

/// Sockets that are opened at one time: a test's own machine has to make them all.
const AT_ONCE: usize = 64;

/// Players who have opened rooms and joined them, `seats` to a room.
async fn players(daemon: &Daemon, rooms: usize, seats: usize, kind: &str) -> Vec<Player> {
    let rooms = stream::iter(0..rooms).map(|_| async {
        let host = Player::opens_with(daemon, json!({ "kind": kind })).await;
        let mut players = Vec::with_capacity(seats);
        for _ in 1..seats {
            players.push(Player::joins(daemon, &host.room).await);
        }
        players.push(host);
        players
    });
    let rooms: Vec<Vec<Player>> = rooms.buffer_unordered(AT_ONCE).collect().await;
    rooms.concat()
}

/// Connects all of them.
async fn all_connect(daemon: &Daemon, players: &[Player]) -> Vec<Client> {
    stream::iter(players)
        .map(|player| async {
            let (client, data) = player.connects(daemon).await;
            is_in_its_seat(player, &data);
            client
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

#[track_caller]
fn is_in_its_seat(player: &Player, data: &Value) {
    let seats = data["seats"].as_array().unwrap();
    assert_eq!(seats.len(), 1, "{data}");
    assert_eq!(seats[0]["room"], player.room, "{data}");
    assert_eq!(seats[0]["seat"], player.seat.unwrap(), "{data}");
    assert_eq!(seats[0]["status"], "held", "{data}");
}

async fn hundreds_are_back_in_their_seats_at_once_after_a_crash(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let players = players(&daemon, 50, 6, "table").await;
    let before = all_connect(&daemon, &players).await;

    daemon.kill();
    drop(before);
    daemon.restart().await;
    let began = Instant::now();
    let clients = all_connect(&daemon, &players).await;
    println!("{} came back in {:?}", clients.len(), began.elapsed());

    assert_eq!(daemon.metric("holdfast_seats{status=\"held\"}").await, 300);
    assert_eq!(daemon.metric("holdfast_seats{status=\"away\"}").await, 0);
    let turned_away = "holdfast_admissions_delayed_total{who=\"seated\",outcome=\"turned_away\"}";
    assert_eq!(daemon.metric(turned_away).await, 0);
}

/// Comes back as a client does that does what it is told; says how often it was told to wait.
async fn comes_back(daemon: &Daemon, player: &Player) -> (Client, u32) {
    let (client, data, waits) = comes_back_with(daemon, &player.token).await;
    is_in_its_seat(player, &data);
    (client, waits)
}

/// The same with any token; what it finds, too.
async fn comes_back_with(daemon: &Daemon, token: &str) -> (Client, Value, u32) {
    let mut waits = 0;
    loop {
        let mut client = Client::dial(daemon.address()).await;
        match client.connects(token).await {
            Ok(mut connected) => return (client, connected["data"].take(), waits),
            Err(Refusal::Error { code: 100, .. }) => {
                waits += 1;
                sleep(time_to_wait(&client)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// What the refusal of a connect says.
fn time_to_wait(client: &Client) -> Duration {
    let heard = client.heard_in_order();
    let error = &heard.last().expect("an answer")["error"];
    assert_eq!(error["temporary"], true, "{error}");
    let seconds = error["retry_after"].as_f64().expect("a time to wait");
    assert!((0.0..31.0).contains(&seconds), "{error}");
    Duration::from_secs_f64(seconds)
}

async fn who_must_wait_is_told_when_to_come_and_keeps_the_seat(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("kind.table.grace", "4s")
        .set("admission.per_second", "10")
        .set("admission.wait", "100ms")
        .start()
        .await;
    let seated = sixty_who_sit(&daemon).await;

    daemon.kill();
    let players: Vec<Player> = seated.into_iter().map(|(player, _)| player).collect();
    daemon.restart().await;
    // A newcomer asks all the time meanwhile, over HTTP and over a socket.
    let began = Instant::now();
    let returning = stream::iter(&players)
        .map(|player| comes_back(&daemon, player))
        .buffer_unordered(players.len())
        .collect::<Vec<_>>();
    let newcomer = async {
        eventually("newcomers are asked to wait", async || {
            let guest = json!({ "guest": { "name": "Bo" } });
            let room = daemon.post("/v1/rooms", guest.clone()).send().await;
            let session = daemon.post("/v1/sessions", guest).send().await;
            match (room.status, session.status) {
                (503, 503) => Ok([room, session]),
                _ => Err(format!("{room:?} {session:?}")),
            }
        })
        .await
    };
    let (back, refused) = tokio::join!(returning, newcomer);
    let took = began.elapsed();

    for refused in refused {
        assert_eq!(refused.refusal(), (503, "UNAVAILABLE"));
        let retry_after: u64 = refused.headers["retry-after"].parse().unwrap();
        assert_eq!(refused.body["retry_after"], retry_after);
        assert!((1..=31).contains(&retry_after), "{retry_after}");
    }
    // Sixty at ten a second: the last came when the hold that they had was over.
    assert!(took > Duration::from_secs(4), "{took:?}");
    let waits: u32 = back.iter().map(|(_, waits)| waits).sum();
    assert!(waits >= 20, "{waits}");
    assert_eq!(daemon.metric("holdfast_seats{status=\"held\"}").await, 60);
    let delayed = daemon.metrics().await;
    let turned_away = "holdfast_admissions_delayed_total{who=\"seated\",outcome=\"turned_away\"}";
    assert!(delayed.value(turned_away) >= f64::from(waits));
    let new = "holdfast_admissions_delayed_total{who=\"new\",outcome=\"turned_away\"}";
    assert!(delayed.value(new) >= 1.0);
    let waited = |who: &str| {
        let series = "holdfast_admissions_delayed_total";
        delayed.value(&format!("{series}{{who=\"{who}\",outcome=\"waited\"}}"))
    };
    let waits = delayed.value("holdfast_admission_wait_seconds_count");
    assert!((waits - waited("seated") - waited("new")).abs() < 0.5);
    // Nobody is left out for long.
    eventually("a newcomer is let in", async || {
        let mut client = Client::dial(daemon.address()).await;
        let connected = client.asks("connect", json!({})).await;
        connected.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
}

async fn by_seat_token_and_by_login_the_seated_go_first_and_lose_nothing_by_the_wait(
    database: Database,
) {
    const SECRET: &str = "a-secret-of-thirty-two-characters";
    const OF_EACH: usize = 40;
    let mut daemon = Daemon::on(database)
        .set("auth.hmac_secret", SECRET)
        .set("kind.table.grace", "6s")
        .start()
        .await;
    let game = Issuer::secret(Algorithm::HS256, SECRET);
    // Where each sits, and what it will come back with.
    let mut seated: Vec<(Player, String)> = Vec::new();
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..OF_EACH {
        let by_token = Player::opens(&daemon).await;
        let (client, data) = by_token.connects(&daemon).await;
        let seat_token = data["seats"][0]["token"].as_str().unwrap().to_owned();
        seated.push((by_token, seat_token));
        clients.push(client);
        let login = game.lets_in(&format!("user-{number}"));
        let opened = daemon.post("/v1/rooms", json!({})).by(&login).send().await;
        let by_login = Player::from(&opened.expect(201));
        clients.push(Client::connect(daemon.address(), &login).await.0);
        seated.push((by_login, login));
    }

    daemon.kill();
    drop(clients);
    daemon.reconfigure("admission.per_second", "10");
    daemon.reconfigure("admission.wait", "100ms");
    // No room is started but for those who come back.
    daemon.reconfigure("faults.restore_delay", "1h");
    daemon.restart().await;
    let began = Instant::now();
    let back = stream::iter(&seated)
        .map(|(player, token)| async {
            let (client, data, waits) = comes_back_with(&daemon, token).await;
            is_in_its_seat(player, &data);
            (client, waits)
        })
        .buffer_unordered(seated.len())
        .collect::<Vec<_>>()
        .await;

    // Eighty at ten a second: the last came when the hold that they had was over.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(6), "{took:?}");
    let waits: u32 = back.iter().map(|(_, waits)| waits).sum();
    assert!(waits >= 20, "{waits}");
    let metrics = daemon.metrics().await;
    let delayed = |who: &str, outcome: &str| {
        metrics.value(&format!(
            "holdfast_admissions_delayed_total{{who=\"{who}\",outcome=\"{outcome}\"}}"
        ))
    };
    assert!(delayed("seated", "turned_away") >= f64::from(waits));
    let as_newcomers = delayed("new", "turned_away") + delayed("new", "waited");
    assert!(
        as_newcomers < 0.5,
        "none of them stood behind: {as_newcomers}"
    );
    assert_eq!(
        daemon.metric("holdfast_seats{status=\"held\"}").await,
        2 * OF_EACH as u64
    );
}

/// A hold that ends at the very moment at which its room and its session are started.
async fn holds_that_end_while_everything_is_restored_leave_no_session_with_a_seat(
    database: Database,
) {
    const ROOMS: usize = 40;
    const SEATS: usize = 10;
    let mut daemon = Daemon::on(database)
        .set("kind.hall.seats", &SEATS.to_string())
        .start()
        .await;
    let players = players(&daemon, ROOMS, SEATS, "hall").await;

    // As planned, so that a hold has no more left than the database says.
    daemon.stop().await;
    // So that each has a little less or a little more left than it takes to start them all.
    let left = "UPDATE room_seats SET hold_until =
        (SELECT max(last_heartbeat_at) FROM hub_clock) + 1 + seat * 20";
    daemon.store().execute(left).await;
    daemon.restart().await;
    eventually("all holds are over", async || {
        let taken = seats(&daemon, &players).await.len();
        (taken == 0)
            .then_some(())
            .ok_or(format!("{taken} are left"))
    })
    .await;

    let with_a_seat = stream::iter(&players)
        .map(|player| async {
            // A hub that restores and ends holds at once may ask a client to come again.
            eventually("the seats of a session", async || {
                let request = daemon.get("/v1/session").by(&player.token);
                let mut answer = request.send().await;
                let is_there = answer.status == 200;
                let seats = is_there.then(|| answer.body["seats"].take());
                seats.ok_or(answer.text)
            })
            .await
        })
        .buffer_unordered(AT_ONCE)
        .filter(|seats| std::future::ready(*seats != json!([])))
        .collect::<Vec<Value>>();
    assert_eq!(with_a_seat.await, Vec::<Value>::new());
    for player in players.iter().step_by(SEATS) {
        let (mut client, data) = player.connects(&daemon).await;
        assert_eq!(data["seats"], json!([]));
        let refused = client.subscribes(&player.channel).await;
        assert_eq!(refused.unwrap_err().code(), 103);
    }
}

/// Sixty players who sit there when the daemon is killed: their holds begin with its next start.
async fn sixty_who_sit(daemon: &Daemon) -> Vec<(Player, Client)> {
    let mut seated: Vec<(Player, Client)> = Vec::new();
    for number in 0..60 {
        let path = match seated.last() {
            Some((player, _)) if number % 6 > 0 => format!("/v1/rooms/{}/join", player.room),
            Some(_) | None => "/v1/rooms".to_owned(),
        };
        // Those before take their turn first.
        let player = eventually("a seat", async || {
            let guest = json!({ "guest": { "name": "Ana" } });
            let answer = daemon.post(&path, guest).send().await;
            match answer.status {
                200 | 201 => Ok(Player::from(&answer.body)),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
        let (client, _) = comes_back(daemon, &player).await;
        seated.push((player, client));
    }
    seated
}

/// The seats of one crowd as the rooms show them: who sits where.
async fn seats(daemon: &Daemon, players: &[Player]) -> BTreeSet<(String, u64, String)> {
    let codes: BTreeSet<&str> = players.iter().map(|player| player.room.as_str()).collect();
    let rooms = stream::iter(codes).map(|code| async move {
        let room = daemon.room(code).await;
        let seats = room["seats"].as_array().unwrap().clone();
        let taken = seats.into_iter().filter(|seat| seat["status"] != "empty");
        taken
            .map(|seat| {
                let user = seat["user"]["id"].as_str().unwrap().to_owned();
                (code.to_owned(), seat["seat"].as_u64().unwrap(), user)
            })
            .collect::<Vec<_>>()
    });
    rooms
        .buffer_unordered(AT_ONCE)
        .flat_map(stream::iter)
        .collect()
        .await
}

async fn a_thousand_seats_held_and_away_survive_crash_after_crash(database: Database) {
    const GRACE: u64 = 3_600;
    let mut daemon = Daemon::on(database)
        .set("kind.hall.seats", "50")
        .set("kind.hall.grace", &format!("{GRACE}s"))
        .set("kind.brief.seats", "50")
        .set("kind.brief.grace", "20s")
        .start()
        .await;
    let opened = Instant::now();
    let patient = players(&daemon, 19, 50, "hall").await;
    let hasty = players(&daemon, 1, 50, "brief").await;
    let (expected, brief) = (seats(&daemon, &patient).await, seats(&daemon, &hasty).await);
    assert_eq!((expected.len(), brief.len()), (950, 50));

    for round in 0..repeated(4, 20) {
        // Each time others are there, and most of them are not.
        let here: Vec<Player> = patient.iter().skip(round).step_by(10).cloned().collect();
        let some = all_connect(&daemon, &hasty).await;
        let clients = all_connect(&daemon, &here).await;
        // Half of those who came have gone when it happens.
        let gone = clients.len() / 2;
        drop(clients.into_iter().take(gone).collect::<Vec<_>>());
        daemon.kill();
        drop(some);
        daemon.restart().await;

        assert_eq!(seats(&daemon, &patient).await, expected, "round {round}");
        assert_eq!(seats(&daemon, &hasty).await, brief, "round {round}");
    }

    for player in patient.iter().step_by(37) {
        let request = daemon.get("/v1/session").by(&player.token);
        let seats = request.send().await.expect(200)["seats"].take();
        let left = seats[0]["hold_seconds"].as_u64().unwrap();
        assert_eq!(seats[0]["status"], "away");
        assert!(left <= GRACE, "{left} s are left");
        assert!(
            left + opened.elapsed().as_secs() + 1 >= GRACE,
            "{left} s are left after {:?}",
            opened.elapsed()
        );
    }
    // Those who never come back are not waited for for ever, and nobody else goes with them.
    eventually("the short holds are over", async || {
        let left = seats(&daemon, &hasty).await.len();
        (left == 0).then_some(()).ok_or(format!("{left} are left"))
    })
    .await;
    assert_eq!(seats(&daemon, &patient).await, expected);
    all_connect(&daemon, &patient).await;
}

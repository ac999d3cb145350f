//! What players notice when a part of the daemon fails: those whom it served come back by themselves,
//! and nobody else notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::id::{ConnectionId, SessionId};
use holdfast::room::RoomKey;
use holdfast::supervisor::shard_of;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{
    Client, Daemon, Database, Plan, Player, Refusal, eventually, on_both_databases,
};

on_both_databases!(
    a_room_that_fails_comes_back_with_everybody_in_their_seats,
    a_session_that_fails_sends_its_client_back_to_its_seat,
    a_connection_that_fails_sends_its_client_back_to_its_seat,
    the_rooms_of_a_supervisor_that_fails_come_back_with_everybody_in_their_seats,
    the_sessions_of_a_supervisor_that_fails_come_back_to_their_seats,
    the_connections_of_a_supervisor_that_fails_come_back_to_their_seats,
    persistence_that_fails_costs_those_who_play_nothing,
    a_writer_that_fails_costs_those_who_play_nothing,
    a_matchmaker_that_fails_learns_anew_which_rooms_have_seats,
    a_hold_runs_out_though_its_room_failed_meanwhile,
    a_claim_under_way_when_its_room_fails_keeps_no_seat_for_ever,
    a_claim_under_way_when_its_session_fails_keeps_no_seat_for_ever,
    rooms_that_were_opened_while_persistence_failed_keep_no_seat_for_ever,
    what_was_given_up_while_persistence_failed_is_free_again,
    who_comes_back_while_everything_fails_at_once_finds_their_seat,
);

/// Two players in a room, and what they are found by.
struct Table {
    players: [Player; 2],
    clients: [Client; 2],
    connections: [ConnectionId; 2],
}

/// How many actors and directory entries there are.
const COUNTED: [&str; 9] = [
    "holdfast_actors{kind=\"room\"}",
    "holdfast_actors{kind=\"session\"}",
    "holdfast_actors{kind=\"connection\"}",
    "holdfast_actors{kind=\"shard\"}",
    "holdfast_directory_entries{kind=\"room\"}",
    "holdfast_directory_entries{kind=\"session\"}",
    "holdfast_directory_entries{kind=\"token\"}",
    "holdfast_directory_entries{kind=\"user\"}",
    "holdfast_directory_entries{kind=\"connection\"}",
];

/// A daemon that lets players play as fast as they can.
fn plan(database: Database) -> Plan {
    Daemon::on(database).set("client.messages_per_second", "100000")
}

impl Table {
    async fn of(daemon: &Daemon) -> Table {
        let host = Player::opens(daemon).await;
        let guest = Player::joins(daemon, &host.room).await;
        let (one, first) = sits_down(daemon, &host).await;
        let (two, second) = sits_down(daemon, &guest).await;
        Table {
            players: [host, guest],
            clients: [one, two],
            connections: [first, second],
        }
    }

    /// A table that shares no supervisor with another one.
    async fn apart_from(daemon: &Daemon, other: &Table) -> Table {
        let taken = other.shares();
        loop {
            let table = Table::of(daemon).await;
            let shares = table.shares();
            let is_apart = |(kind, share): &(&str, usize)| !taken.contains(&(*kind, *share));
            if shares.iter().all(is_apart) {
                return table;
            }
        }
    }

    fn shares(&self) -> Vec<(&'static str, usize)> {
        let mut shares = vec![("room", room_share(&self.players[0].room))];
        for (player, connection) in self.players.iter().zip(&self.connections) {
            let session = SessionId(player.session.parse().unwrap());
            shares.push(("session", shard_of(&session)));
            shares.push(("connection", shard_of(connection)));
        }
        shares
    }

    fn channel(&self) -> &str {
        &self.players[0].channel
    }

    /// Both take turns and hear every move once and in order, until it is over.
    async fn play(&mut self, is_over: &AtomicBool) {
        let channel = self.channel().to_owned();
        let mut moves = 0;
        while !is_over.load(Ordering::Relaxed) || moves < 10 {
            let mover = moves % 2;
            let said = self.clients[mover].publishes(&channel, json!(moves)).await;
            assert_eq!(said, Ok(json!({})));
            for client in &mut self.clients {
                assert_eq!(client.hears_a_player(&channel).await["data"], moves);
            }
            moves += 1;
        }
        for client in &self.clients {
            assert!(client.is_open());
            let offsets: Vec<_> = client.heard_on(&channel);
            let offsets = offsets
                .iter()
                .map(|heard| heard["offset"].as_u64().unwrap());
            let offsets: Vec<_> = offsets.collect();
            assert!(
                offsets.windows(2).all(|two| two[1] == two[0] + 1),
                "{offsets:?}"
            );
            assert_eq!(unsubscribed(client), Vec::<Value>::new());
        }
    }

    /// Both sit in their seats, as the room and as they themselves are told.
    async fn is_complete(&self, daemon: &Daemon) {
        for player in &self.players {
            eventually("the seat is held", async || {
                let seat = player.seat_in_room(daemon).await;
                let is_held = seat["status"] == "held" && seat["user"]["id"] == player.user;
                is_held.then_some(()).ok_or(seat.to_string())
            })
            .await;
        }
    }

    /// Both have been told to subscribe again, and do.
    async fn subscribes_again(&mut self) {
        let channel = self.channel().to_owned();
        for client in &mut self.clients {
            hears_that_it_must_subscribe_again(client, &channel).await;
            client.subscribes(&channel).await.unwrap();
        }
    }

    /// One of them connects anew.
    async fn comes_back(&mut self, daemon: &Daemon, who: usize) {
        let seat = self.players[who].seat.unwrap();
        let (mut client, data) = self.players[who].connects(daemon).await;
        assert_eq!(data["seats"][0]["seat"], seat, "{data}");
        assert_eq!(data["seats"][0]["status"], "held", "{data}");
        client.subscribes(self.channel()).await.unwrap();
        self.clients[who] = client;
    }

    /// The first one connects anew, and the second one if it was cut off as well.
    async fn come_back(&mut self, daemon: &Daemon) {
        self.comes_back(daemon, 0).await;
        if !self.clients[1].is_open() {
            self.comes_back(daemon, 1).await;
        }
    }

    /// Each hears what the other one says.
    async fn is_heard(&mut self) {
        let channel = self.channel().to_owned();
        for (who, other, word) in [(0, 1, "well"), (1, 0, "yes")] {
            self.clients[who]
                .publishes(&channel, json!(word))
                .await
                .unwrap();
            let heard = self.clients[other].hears_a_player(&channel).await;
            assert_eq!(heard["data"], word);
            if who == 0 {
                self.clients[who].hears_a_player(&channel).await;
            }
        }
    }
}

async fn sits_down(daemon: &Daemon, player: &Player) -> (Client, ConnectionId) {
    let (mut client, result) = Client::connect(daemon.address(), &player.token).await;
    client.subscribes(&player.channel).await.unwrap();
    let connection = result["client"].as_str().unwrap().parse().unwrap();
    (client, ConnectionId(connection))
}

fn room_share(code: &str) -> usize {
    shard_of(&RoomKey::Code(code.parse().unwrap()))
}

/// The channels that a client was told to leave, with the codes.
fn unsubscribed(client: &Client) -> Vec<Value> {
    let frames = client.heard_in_order().into_iter();
    let pushes = frames.filter_map(|mut frame| Some(frame.get_mut("push")?.take()));
    pushes
        .filter(|push| push.get("unsubscribe").is_some())
        .collect()
}

async fn hears_that_it_must_subscribe_again(client: &mut Client, channel: &str) {
    eventually(
        "an unsubscribe that asks for a new subscription",
        async || {
            let pushes = unsubscribed(client);
            let is_told =
                |push: &Value| push["channel"] == channel && push["unsubscribe"]["code"] == 2500;
            let is_there = pushes.iter().any(is_told);
            is_there.then_some(()).ok_or(format!("{pushes:?}"))
        },
    )
    .await;
}

async fn counts(daemon: &Daemon) -> Vec<(&'static str, u64)> {
    let counts = COUNTED.map(|name| async move { (name, daemon.metric(name).await) });
    join_all(counts).await
}

async fn counts_are_again(daemon: &Daemon, before: &[(&'static str, u64)]) {
    eventually("as many actors and entries as before", async || {
        let after = counts(daemon).await;
        let is_same = after == before;
        is_same
            .then_some(())
            .ok_or(format!("{after:?} after {before:?}"))
    })
    .await;
}

/// Has something fail while others play on, and waits until `mended` is done.
async fn while_others_play<T>(others: &mut Table, mended: impl Future<Output = T>) -> T {
    let is_over = AtomicBool::new(false);
    let mending = async {
        let done = mended.await;
        is_over.store(true, Ordering::Relaxed);
        done
    };
    let (done, ()) = tokio::join!(mending, others.play(&is_over));
    done
}

/// Has a part fail that serves a table, while others play on whom it does not serve. In the end both players of the
/// table sit in their seats and hear each other, and nothing is left of the part that failed.
async fn while_a_part_fails(
    database: Database,
    part: impl Fn(&Table) -> Value,
    comes_back: impl AsyncFnOnce(&mut Table, &Daemon),
) {
    let daemon = plan(database).start().await;
    let mut table = Table::of(&daemon).await;
    let mut others = Table::apart_from(&daemon, &table).await;
    let before = counts(&daemon).await;

    while_others_play(&mut others, async {
        daemon.has_a_panic_in(&part(&table)).await;
        comes_back(&mut table, &daemon).await;
        table.is_complete(&daemon).await;
    })
    .await;

    table.is_heard().await;
    counts_are_again(&daemon, &before).await;
}

async fn a_room_that_fails_comes_back_with_everybody_in_their_seats(database: Database) {
    let room = |table: &Table| json!({ "in": "room", "room": table.players[0].room });
    while_a_part_fails(database, room, async |table, _| {
        table.subscribes_again().await;
    })
    .await;
}

async fn a_session_that_fails_sends_its_client_back_to_its_seat(database: Database) {
    let session = |table: &Table| json!({ "in": "session", "session": table.players[0].session });
    while_a_part_fails(database, session, async |table, daemon| {
        assert_eq!(table.clients[0].closed().await.0, 3011);
        table.comes_back(daemon, 0).await;
        assert!(table.clients[1].is_open());
    })
    .await;
}

async fn a_connection_that_fails_sends_its_client_back_to_its_seat(database: Database) {
    let connection =
        |table: &Table| json!({ "in": "connection", "connection": table.connections[0].0 });
    while_a_part_fails(database, connection, async |table, daemon| {
        assert_eq!(table.clients[0].closed().await.0, 3004);
        table.comes_back(daemon, 0).await;
        assert!(table.clients[1].is_open());
    })
    .await;
}

async fn the_rooms_of_a_supervisor_that_fails_come_back_with_everybody_in_their_seats(
    database: Database,
) {
    let rooms = |table: &Table| json!({ "in": "room_supervisor", "room": table.players[0].room });
    while_a_part_fails(database, rooms, async |table, _| {
        table.subscribes_again().await;
    })
    .await;
}

async fn the_sessions_of_a_supervisor_that_fails_come_back_to_their_seats(database: Database) {
    let sessions = |table: &Table| {
        let session = &table.players[0].session;
        json!({ "in": "session_supervisor", "session": session })
    };
    while_a_part_fails(database, sessions, async |table, daemon| {
        assert_eq!(table.clients[0].closed().await.0, 3011);
        table.come_back(daemon).await;
    })
    .await;
}

async fn the_connections_of_a_supervisor_that_fails_come_back_to_their_seats(database: Database) {
    let connections = |table: &Table| {
        let connection = table.connections[0].0;
        json!({ "in": "connection_supervisor", "connection": connection })
    };
    while_a_part_fails(database, connections, async |table, daemon| {
        assert_eq!(table.clients[0].closed().await.0, 3004);
        table.come_back(daemon).await;
    })
    .await;
}

async fn persistence_that_fails_costs_those_who_play_nothing(database: Database) {
    a_part_that_fails_costs_those_who_play_nothing(database, "persistence").await;
}

async fn a_writer_that_fails_costs_those_who_play_nothing(database: Database) {
    a_part_that_fails_costs_those_who_play_nothing(database, "writer").await;
}

async fn a_part_that_fails_costs_those_who_play_nothing(database: Database, part: &str) {
    let daemon = plan(database).start().await;
    let mut table = Table::of(&daemon).await;
    let before = counts(&daemon).await;

    let player = while_others_play(&mut table, async {
        daemon.has_a_panic_in(&json!({ "in": part })).await;
        eventually("rooms are opened again", async || {
            let body = json!({ "guest": { "name": "Ana" } });
            let answer = daemon.post("/v1/rooms", body).send().await;
            match answer.status {
                201 => Ok(Player::from(&answer.body)),
                503 => Err(format!("{answer:?}")),
                _ => panic!("{answer:?}"),
            }
        })
        .await
    })
    .await;

    table.is_complete(&daemon).await;
    let after = counts(&daemon).await;
    assert_eq!(after[0].1, before[0].1 + 1, "{after:?} after {before:?}");
    assert_eq!(after[3], before[3], "supervisors");
    let (_client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

async fn a_matchmaker_that_fails_learns_anew_which_rooms_have_seats(database: Database) {
    let daemon = plan(database).start().await;
    let mut table = Table::of(&daemon).await;
    let code = table.players[0].room.clone();

    let found = while_others_play(&mut table, async {
        daemon.has_a_panic_in(&json!({ "in": "matchmaker" })).await;
        eventually("a quick match finds the room again", async || {
            let body = json!({ "guest": { "name": "Cy" } });
            let answer = daemon.post("/v1/quick-match", body).send().await;
            let room = answer.body["room"]["code"].clone();
            (room == code).then_some(()).ok_or(format!("{answer:?}"))
        })
        .await;
    })
    .await;

    assert_eq!(found, ());
}

async fn a_hold_runs_out_though_its_room_failed_meanwhile(database: Database) {
    let daemon = plan(database).set("kind.table.grace", "2s").start().await;
    let table = Table::of(&daemon).await;
    let [host, guest] = table.players;
    let [client, _guest] = table.clients;

    client.drops_the_line();
    let room = json!({ "in": "room", "room": host.room });
    daemon.has_a_panic_in(&room).await;

    seat_gets(&daemon, &host, "empty").await;
    assert_eq!(guest.seat_in_room(&daemon).await["status"], "held");
    let joined = Player::joins(&daemon, &host.room).await;
    assert_eq!(joined.seat, host.seat);
}

async fn seat_gets(daemon: &Daemon, player: &Player, status: &str) {
    eventually(&format!("the seat is {status}"), async || {
        let seat = player.seat_in_room(daemon).await;
        let is_so = seat["status"] == status;
        is_so.then_some(()).ok_or(seat.to_string())
    })
    .await;
}

/// Waits until the writer is at work on what a test has begun.
async fn a_commit_is_under_way(daemon: &Daemon, room: &str, seats: usize) {
    eventually("the seat is being written", async || {
        let taken = daemon.room(room).await["seats"].take();
        let taken = taken.as_array().unwrap().iter();
        let taken = taken.filter(|seat| seat["status"] != "empty").count();
        let is_so = taken == seats;
        is_so
            .then_some(())
            .ok_or(format!("{taken} seats are taken"))
    })
    .await;
}

async fn no_seat_is_left(daemon: &Daemon) {
    eventually("no seat is left", async || {
        let seats = daemon
            .store()
            .count("SELECT count(*) FROM room_seats")
            .await;
        (seats == 0).then_some(()).ok_or(format!("{seats} seats"))
    })
    .await;
}

async fn a_claim_under_way_when_its_room_fails_keeps_no_seat_for_ever(database: Database) {
    let daemon = plan(database)
        .set("kind.table.grace", "2s")
        .set("faults.commit_delay", "300ms")
        .start()
        .await;
    let host = Player::opens(&daemon).await;

    let joining = Player::tries_to_join(&daemon, &host.room, json!({}));
    let failing = async {
        a_commit_is_under_way(&daemon, &host.room, 1).await;
        let room = json!({ "in": "room", "room": host.room });
        daemon.has_a_panic_in(&room).await;
    };
    let (answer, ()) = tokio::join!(joining, failing);

    assert!([200, 503].contains(&answer.status), "{answer:?}");
    no_seat_is_left(&daemon).await;
    seat_gets(&daemon, &host, "empty").await;
}

async fn a_claim_under_way_when_its_session_fails_keeps_no_seat_for_ever(database: Database) {
    let daemon = plan(database)
        .set("kind.table.grace", "2s")
        .set("faults.commit_delay", "300ms")
        .start()
        .await;
    let host = Player::opens(&daemon).await;
    let mut client = Client::dial(daemon.address()).await;
    let data = json!({ "data": { "name": "Bo" } });
    let welcome = client.asks("connect", data).await.unwrap();
    let session = &welcome["data"]["session"]["id"];

    let room = json!({ "method": "room.join", "data": { "room": host.room } });
    client.says("rpc", room).await;
    let session = json!({ "in": "session", "session": session });
    daemon.has_a_panic_in(&session).await;

    assert_eq!(client.closed().await.0, 3011);
    // By the time the host's own hold is over, the claim is written, if it was made.
    no_seat_is_left(&daemon).await;
}

async fn rooms_that_were_opened_while_persistence_failed_keep_no_seat_for_ever(database: Database) {
    let daemon = plan(database)
        .set("kind.table.grace", "2s")
        .set("faults.commit_delay", "200ms")
        .start()
        .await;

    let opening = join_all((0..8).map(|_| async {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let body = json!({ "guest": { "name": "Ana" } });
            answers.push(daemon.post("/v1/rooms", body).send().await);
        }
        answers
    }));
    let failing = async {
        for _ in 0..3 {
            let before = daemon.metric("holdfast_commits_total").await;
            // What came during one commit is in the next, which begins at once.
            eventually("a commit", async || {
                let commits = daemon.metric("holdfast_commits_total").await;
                (commits > before).then_some(()).ok_or("none".to_owned())
            })
            .await;
            daemon.has_a_panic_in(&json!({ "in": "persistence" })).await;
        }
    };
    let (answers, ()) = tokio::join!(opening, failing);

    for answer in answers.into_iter().flatten() {
        match answer.status {
            201 => assert!(answer.body["session"]["token"].is_string()),
            status => assert_eq!(status, 503, "{answer:?}"),
        }
    }
    no_seat_is_left(&daemon).await;
    let live = daemon.metric("holdfast_actors{kind=\"session\"}").await;
    assert!(live <= 24, "{live} sessions");
}

async fn what_was_given_up_while_persistence_failed_is_free_again(database: Database) {
    let daemon = plan(database)
        .set("faults.commit_delay", "300ms")
        .start()
        .await;
    let table = Table::of(&daemon).await;
    let [host, guest] = table.players;
    let [mut client, _other] = table.clients;

    let room = json!({ "method": "room.leave", "data": { "room": host.room } });
    client.says("rpc", room).await;
    let ending = daemon.delete("/v1/session").by(&guest.token).send();
    let failing = async {
        // Asked after both, and answered: they are on their way.
        daemon.get("/v1/session").by(&host.token).send().await;
        daemon.has_a_panic_in(&json!({ "in": "persistence" })).await;
    };
    let (ended, ()) = tokio::join!(ending, failing);

    assert!([204, 503].contains(&ended.status), "{ended:?}");
    eventually("both have gone, or still sit there", async || {
        let left = daemon.get("/v1/session").by(&host.token).send().await;
        let room = daemon.room(&host.room).await;
        let seats = daemon
            .store()
            .count("SELECT count(*) FROM room_seats")
            .await;
        let taken = room["seats"].as_array().unwrap().iter();
        let taken = taken.filter(|seat| seat["status"] != "empty").count();
        let own = left.body["seats"].as_array().map_or(0, Vec::len);
        let is_true = i64::try_from(taken).unwrap() == seats && own <= taken;
        is_true
            .then_some(())
            .ok_or(format!("{seats} stored, {own} of own, {room}"))
    })
    .await;
}

async fn who_comes_back_while_everything_fails_at_once_finds_their_seat(database: Database) {
    let daemon = plan(database).start().await;
    let mut table = Table::of(&daemon).await;
    let before = counts(&daemon).await;

    let (room, session) = (&table.players[0].room, &table.players[0].session);
    for part in [
        json!({ "in": "session", "session": session }),
        json!({ "in": "room", "room": room }),
        json!({ "in": "room_supervisor", "room": room }),
        json!({ "in": "session_supervisor", "session": session }),
        json!({ "in": "writer" }),
        json!({ "in": "persistence" }),
    ] {
        // What is not back yet cannot fail again.
        daemon.tries_a_panic_in(&part).await.unwrap();
    }

    assert_eq!(table.clients[0].closed().await.0, 3011);
    eventually("both are back", async || {
        for who in [0, 1] {
            let mut client = Client::dial(daemon.address()).await;
            let token = &table.players[who].token;
            let back = client
                .connects(token)
                .await
                .map_err(|refused| format!("{refused:?}"))?;
            let seats = back["data"]["seats"].clone();
            (seats[0]["status"] == "held")
                .then_some(())
                .ok_or(seats.to_string())?;
            let subscribed = client.subscribes(table.channel()).await;
            subscribed.map_err(|refused: Refusal| format!("{refused:?}"))?;
            table.clients[who] = client;
        }
        Ok(())
    })
    .await;
    table.is_complete(&daemon).await;
    table.is_heard().await;
    counts_are_again(&daemon, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_keeps_failing_ends_the_process_with_a_reason() {
    let mut daemon = plan(Database::Sqlite).start().await;

    let failing = async {
        // Until it is gone: a part that is not back yet cannot fail again.
        while daemon
            .tries_a_panic_in(&json!({ "in": "matchmaker" }))
            .await
            .is_ok()
        {}
    };
    let is_over = timeout(Duration::from_secs(30), failing).await;

    assert!(is_over.is_ok(), "the daemon is still there");
    assert_eq!(daemon.ends().await.code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("component keeps failing"), "{log}");
    let last = log.lines().last().unwrap_or_default();
    let reason = "holdfast: matchmaker failed more than 10 times in 60 s: ordered";
    assert_eq!(last, reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_fails_ends_the_process_with_a_reason() {
    let mut daemon = plan(Database::Sqlite).start().await;

    daemon.has_a_panic_in(&json!({ "in": "hub" })).await;

    assert_eq!(daemon.ends().await.code(), Some(1));
    assert!(daemon.log().ends_with("holdfast: the hub has failed\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_keeps_failing_is_left_alone_and_takes_no_other_with_it() {
    let daemon = plan(Database::Sqlite).start().await;
    let table = Table::of(&daemon).await;
    let code = &table.players[0].room;
    let mut neighbours = loop {
        let others = Table::of(&daemon).await;
        if room_share(&others.players[0].room) == room_share(code) {
            break others;
        }
    };

    while_others_play(&mut neighbours, async {
        let rested = "holdfast_actors_rested_total{kind=\"room\"}";
        while daemon.metric(rested).await == 0 {
            let room = json!({ "in": "room", "room": code });
            // What is not back yet cannot fail again.
            daemon.tries_a_panic_in(&room).await.unwrap();
        }
    })
    .await;

    let answer = daemon.get(&format!("/v1/rooms/{code}")).send().await;
    assert_eq!(answer.refusal(), (503, "UNAVAILABLE"));
    let (_client, data) = table.players[0].connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], *code);
    assert!(
        daemon
            .log()
            .contains("actor keeps failing and is left alone")
    );
    let failed = daemon.metric("holdfast_actor_restarts_total{kind=\"room_supervisor\"}");
    assert_eq!(failed.await, 0);
}

/// Rooms of one wave, and how many are opened at the same time.
const ROOMS: usize = 500;
const AT_ONCE: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_rooms_that_were_left_again_leave_nothing_behind() {
    let daemon = plan(Database::Sqlite)
        .set("kind.table.empty_ttl", "1s")
        .start()
        .await;
    let before = counts(&daemon).await;

    let mut resident = Vec::new();
    for _ in 0..3 {
        for _ in 0..ROOMS / AT_ONCE {
            join_all((0..AT_ONCE).map(|_| plays_and_leaves(&daemon))).await;
        }
        counts_are_again(&daemon, &before).await;
        resident.push(daemon.resident());
    }

    // The first waves warm up what the allocator and the database keep.
    let grown = resident[2].saturating_sub(resident[1]);
    assert!(grown * 10 <= resident[1], "{resident:?} KiB");
}

async fn plays_and_leaves(daemon: &Daemon) {
    let player = Player::opens(daemon).await;
    let mut client = player.sits_down(daemon).await;
    client
        .publishes(&player.channel, json!("move"))
        .await
        .unwrap();
    client.hears_a_player(&player.channel).await;
    let room = json!({ "room": player.room });
    client.calls("room.leave", room).await.unwrap();
}

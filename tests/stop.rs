//! A planned stop: nobody loses a seat or a word by it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Client, Daemon, Database, Player, Refusal, SLACK, eventually, on_both_databases,
};

on_both_databases!(
    five_hundred_players_come_back_to_their_seats_and_miss_nothing,
    what_is_under_way_when_the_daemon_stops_is_finished,
);

/// Rooms and players in each, in the stop under load.
const ROOMS: usize = 100;
const PLAYERS: usize = 5;

/// The pause of each player between two messages: 500 of them say 1,000 messages a second.
const THINKS_FOR: Duration = Duration::from_millis(500);

/// How long a stop takes that is cut short: far less than one that is not.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A player with all they said and heard.
struct Seated {
    player: Player,
    client: Client,
    epoch: String,
    /// The offset that the subscription began at.
    since: u64,
    /// What the daemon said yes to.
    acknowledged: Vec<Value>,
}

impl Seated {
    async fn in_room(daemon: &Daemon) -> Vec<Seated> {
        let first = Player::opens(daemon).await;
        let mut players = vec![first.clone()];
        for _ in 1..PLAYERS {
            players.push(Player::joins(daemon, &first.room).await);
        }
        join_all(players.into_iter().map(|player| async {
            let (mut client, _) = player.connects(daemon).await;
            let subscribed = client.subscribes(&player.channel).await.unwrap();
            Seated {
                client,
                epoch: subscribed["epoch"].as_str().unwrap().to_owned(),
                since: subscribed["offset"].as_u64().unwrap_or(0),
                acknowledged: Vec::new(),
                player,
            }
        }))
        .await
    }

    /// Talks until the daemon closes the socket; returns with what code.
    async fn talks(&mut self) -> u64 {
        for count in 0_u64.. {
            let word = json!({ "by": self.player.user, "count": count });
            match self
                .client
                .publishes(&self.player.channel, word.clone())
                .await
            {
                Ok(_) => self.acknowledged.push(word),
                Err(Refusal::Closed { code, .. }) => return u64::from(code),
                Err(Refusal::Error { code, .. }) => assert_eq!(code, 100),
            }
            tokio::time::sleep(THINKS_FOR).await;
        }
        unreachable!("nobody counts that far")
    }

    /// Comes back and has the rest told; all that was said since the first subscription.
    async fn comes_back(&mut self, daemon: &Daemon) -> Vec<Value> {
        let mut heard = self.client.heard_on(&self.player.channel);
        let last = heard.last().map_or(self.since, offset);
        let (mut client, data) = self.player.connects(daemon).await;
        let seat = &data["seats"][0];
        assert_eq!(seat["room"], self.player.room);
        assert_eq!(seat["seat"].as_u64(), self.player.seat);
        assert_eq!(seat["status"], "held");
        let channel = &self.player.channel;
        let recovered = client.recovers(channel, &self.epoch, last).await.unwrap();
        assert_eq!(recovered["recovered"], true, "{recovered}");
        assert_eq!(recovered["epoch"], self.epoch);
        heard.extend(
            recovered["publications"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        self.client = client;
        heard
    }
}

async fn five_hundred_players_come_back_to_their_seats_and_miss_nothing(database: Database) {
    let mut daemon = Daemon::on(database).start().await;
    let rooms = join_all((0..ROOMS).map(|_| Seated::in_room(&daemon))).await;
    let mut seated: Vec<Seated> = rooms.into_iter().flatten().collect();

    let talking = join_all(seated.iter_mut().map(Seated::talks));
    let stopping = async {
        let said = "holdfast_messages_received_total{kind=\"publish\"}";
        eventually("everybody talks", async || {
            let said = daemon.metrics().await.value(said);
            if said >= 1_000.0 {
                Ok(())
            } else {
                Err(format!("{said} messages"))
            }
        })
        .await;
        daemon.begins_to_stop();
    };
    let (codes, ()) = tokio::join!(talking, stopping);
    let status = daemon.stopped().await;
    daemon.restart().await;
    let heard = join_all(seated.iter_mut().map(|one| one.comes_back(&daemon))).await;

    assert_eq!(status.code(), Some(0));
    assert_eq!(
        codes.iter().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([3001])
    );
    for (room, heard) in seated.chunks(PLAYERS).zip(heard.chunks(PLAYERS)) {
        for (one, heard) in room.iter().zip(heard) {
            let offsets: Vec<u64> = heard.iter().map(offset).collect();
            let expected: Vec<u64> = (one.since + 1..).take(offsets.len()).collect();
            assert_eq!(offsets, expected, "{} has a gap", one.player.channel);
        }
        // The first to subscribe is not known, so what was said counts from the last.
        for one in room {
            assert!(
                one.acknowledged.len() >= 2,
                "{} said little",
                one.player.user
            );
            for word in &one.acknowledged {
                let times = heard
                    .iter()
                    .map(|heard| heard.iter().filter(|said| said["data"] == *word).count());
                assert_eq!(
                    times.collect::<Vec<_>>(),
                    vec![1; PLAYERS],
                    "{word} was acknowledged"
                );
            }
        }
    }
}

/// The offset of a publication.
fn offset(publication: &Value) -> u64 {
    publication["offset"].as_u64().expect("a table has history")
}

async fn what_is_under_way_when_the_daemon_stops_is_finished(database: Database) {
    let mut daemon = Daemon::on(database)
        .set("faults.commit_delay", "300ms")
        .start()
        .await;

    // The first commit is alone; while it is on its way the others gather for the next one.
    let first = daemon.post("/v1/rooms", json!({ "guest": { "name": "Ana" } }));
    let others = (0..20).map(|_| {
        daemon
            .post("/v1/rooms", json!({ "guest": { "name": "Bo" } }))
            .send()
    });
    let stop = async {
        let answer = first.send().await;
        daemon.begins_to_stop();
        answer
    };
    let (first, others) = tokio::join!(stop, join_all(others));
    let status = daemon.stopped().await;
    daemon.restart().await;

    assert_eq!(status.code(), Some(0));
    for answer in others.into_iter().chain([first]) {
        let player = Player::from(&answer.expect(201));
        let (_, data) = player.connects(&daemon).await;
        assert_eq!(data["seats"][0]["room"], player.room);
    }
}

/// A daemon that sends away one client a second, and more of them than a test waits for.
async fn stops_slowly() -> (Daemon, Vec<Client>) {
    let daemon = Daemon::on(Database::Sqlite)
        .set("shutdown.clients_per_second", "1")
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let player = Player::opens(&daemon).await;
        let (client, _) = player.connects(&daemon).await;
        clients.push(client);
    }
    (daemon, clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stops_takes_nobody_new_and_lets_those_play_who_are_there() {
    let (daemon, mut clients) = stops_slowly().await;
    let ana = Player::opens(&daemon).await;
    let bo = Player::joins(&daemon, &ana.room).await;

    daemon.begins_to_stop();
    stops_being_ready(&daemon).await;

    let opened = daemon
        .post("/v1/rooms", json!({ "guest": { "name": "Cy" } }))
        .send()
        .await;
    assert_eq!(opened.refusal(), (503, "UNAVAILABLE"));
    let joined = Player::tries_to_join(&daemon, &ana.room, json!({})).await;
    assert_eq!(joined.refusal(), (503, "UNAVAILABLE"));
    let ready = daemon.get("/readyz").send().await;
    assert_eq!(
        (ready.status, &ready.body["status"]),
        (503, &json!("stopping"))
    );
    let refused = Client::try_dial(daemon.address())
        .await
        .err()
        .unwrap_or_default();
    assert!(refused.contains("503"), "{refused}");
    let lives = daemon.get_as_operator("/livez").send().await;
    assert_eq!(lives.status, 200);
    let room = daemon.room(&bo.room).await;
    assert_eq!(room["status"], "open");
    let still_here = clients
        .iter_mut()
        .rev()
        .find(|client| client.is_open())
        .unwrap();
    let refused = still_here.calls("room.open", json!({})).await.unwrap_err();
    assert_eq!(refused.code(), 100);
}

/// A shell and the kernel each send SIGHUP when a terminal is closed, so the second is no order to hurry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_closes_is_a_planned_stop() {
    let mut daemon = Daemon::on(Database::Sqlite)
        // However these tests were started themselves.
        .under(&["env", "--default-signal=HUP"])
        .set("shutdown.clients_per_second", "1")
        .set("shutdown.timeout", "10s")
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;
    let said = client.publishes(&player.channel, json!("e2e4")).await;
    said.unwrap();
    let mut others = Vec::new();
    for _ in 0..20 {
        let other = Player::opens(&daemon).await;
        others.push(other.sits_down(&daemon).await);
    }

    daemon.signals("HUP");
    stops_being_ready(&daemon).await;
    daemon.signals("HUP");
    let status = daemon.stopped().await;

    assert_eq!(status.code(), Some(0));
    assert_eq!(client.closed().await.0, 3001);
    daemon.restart().await;
    let (mut client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
    client.subscribes(&player.channel).await.unwrap();
    let history = json!({ "channel": player.channel, "limit": 100 });
    let history = client.asks("history", history).await.unwrap();
    assert!(history.to_string().contains("e2e4"), "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_under_nohup_outlives_its_terminal() {
    let mut daemon = Daemon::on(Database::Sqlite)
        .under(&["env", "--ignore-signal=HUP"])
        .start()
        .await;

    daemon.signals("HUP");
    let player = Player::opens(&daemon).await;
    let mut client = player.sits_down(&daemon).await;
    let said = client.publishes(&player.channel, json!("e2e4")).await;

    assert!(said.is_ok(), "{said:?}");
    assert_eq!(daemon.get("/readyz").send().await.status, 200);
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_stop_at_once() {
    let (mut daemon, _clients) = stops_slowly().await;
    let player = Player::opens(&daemon).await;
    daemon.begins_to_stop();
    stops_being_ready(&daemon).await;

    let told = Instant::now();
    let status = daemon.stop().await;

    assert!(told.elapsed() < AT_ONCE, "it took {:?}", told.elapsed());
    assert_eq!(status.code(), Some(1));
    daemon.restart().await;
    let (_, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["room"], player.room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_takes_its_time_charges_nobody_who_is_away_for_it() {
    let mut daemon = Daemon::on(Database::Sqlite)
        .set("shutdown.clients_per_second", "1")
        .set("kind.table.grace", "100s")
        .start()
        .await;
    let away = Player::opens(&daemon).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Player::opens(&daemon).await.sits_down(&daemon).await);
    }
    let seen = Instant::now();
    let left_before = left_of_hold(&daemon, &away).await;

    daemon.begins_to_stop();
    eventually("the first client is sent away", async || {
        let all_are_here = clients.iter().all(Client::is_open);
        (!all_are_here).then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    let ran_before = seen.elapsed();
    let sent_away = Instant::now();
    daemon.stopped().await;
    let took = sent_away.elapsed();
    let started = Instant::now();
    daemon.restart().await;
    let left_after = left_of_hold(&daemon, &away).await;

    assert!(took > Duration::from_secs(3), "{took:?}");
    // What is left is told in whole seconds.
    let ran = ran_before + started.elapsed() + Duration::from_secs(2);
    assert!(
        left_after + ran >= left_before,
        "{left_before:?} before, {left_after:?} after; it ran for {ran:?}"
    );
}

/// What is left of the hold of a player who is away.
async fn left_of_hold(daemon: &Daemon, player: &Player) -> Duration {
    let answer = daemon.get("/v1/session").by(&player.token).send().await;
    let seat = answer.expect(200)["seats"][0].take();
    assert_eq!(seat["status"], "away", "{seat}");
    Duration::from_secs(seat["hold_seconds"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_its_database_ends_in_time_and_says_so() {
    for goes in ["down", "silent"] {
        let limit = Duration::from_secs(5);
        let mut daemon = Daemon::on(Database::Postgres)
            .behind_proxy()
            .set("shutdown.timeout", "5s")
            .start()
            .await;
        let player = Player::opens(&daemon).await;
        let mut client = player.sits_down(&daemon).await;
        match goes {
            "down" => daemon.database_line().goes_down(),
            _ => daemon.database_line().goes_silent(),
        }

        let told = Instant::now();
        let status = daemon.stop().await;

        assert_eq!(status.code(), Some(1), "the database is {goes}");
        assert!(
            told.elapsed() < limit + SLACK,
            "it took {:?}",
            told.elapsed()
        );
        assert_eq!(client.closed().await.0, 3001);
        daemon.database_line().comes_up();
        daemon.restart().await;
        let (_, data) = player.connects(&daemon).await;
        assert_eq!(data["seats"][0]["room"], player.room);
    }
}

async fn stops_being_ready(daemon: &Daemon) {
    eventually("the daemon is not ready any more", async || {
        let answer = daemon.get_as_operator("/readyz").try_send().await?;
        match answer.status {
            503 => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await;
}

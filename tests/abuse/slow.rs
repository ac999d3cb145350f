//! Clients that do not read, and lines that went dead without a word.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::raw::{CLOSE, upgrade_request};
use super::vitals::resident_kib;
use super::{Honest, Raw, Vitals, start};
use crate::support::{Client, Daemon, Database, Player, Proxy, SLACK, eventually};

/// Beyond all of these tests: who does not read is cut off for that, and not because it answers no ping, however
/// long a busy machine takes to fill its queue.
const PATIENT_PING: &str = "1h";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_is_noticed_after_ping_and_pong_and_the_seat_is_kept() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.ping", "2s")
        .set("client.pong_timeout", "1s")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let players = join_all((0..20).map(|_| Player::opens(&daemon))).await;
    let before = Vitals::of(&daemon).await;
    let line = Proxy::to(daemon.address()).await;
    let clients = join_all(players.iter().map(async |player| {
        let (mut client, _) = Client::connect(line.address(), &player.token).await;
        client.subscribes(&player.channel).await.unwrap();
        client
    }))
    .await;

    line.goes_silent();
    let silent = Instant::now();
    for player in &players {
        eventually("the seat is away", async || {
            let seat = player.seat_in_room(&daemon).await;
            let is_away = seat["status"] == "away";
            is_away.then_some(()).ok_or(seat.to_string())
        })
        .await;
    }

    assert!(
        silent.elapsed() < Duration::from_secs(3) + SLACK,
        "{:?}",
        silent.elapsed()
    );
    let after = daemon.actors().await;
    assert_eq!(after.connections, before.actors.connections);
    // The proxy's own ends are still open: the daemon let go without their help.
    before.come_back(&daemon).await;
    drop((clients, line));
    honest.have_lost_nothing("20 dead lines").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_never_read_are_cut_off_bounded_and_keep_their_seats() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("kind.hall.seats", "32")
        .set("kind.hall.message_max", "64KiB")
        .set("client.messages_per_second", "100000")
        .set("client.bytes_per_second", "1GiB")
        .set("kind.table.message_max", "64KiB")
        .set("client.ping", PATIENT_PING)
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let host = Player::opens_with(&daemon, json!({ "kind": "hall" })).await;
    let sleepers = join_all((0..20).map(|_| Player::joins(&daemon, &host.room))).await;
    let mut speaker = host.sits_down(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let asleep = join_all(sleepers.iter().map(|player| sleeps(&daemon, player))).await;

    // The queue of 1 MiB, what the kernel takes on top, and a second time the queue on its way.
    let word = json!("x".repeat(16 * 1024));
    let mut most = 0;
    for _ in 0..1_000 {
        speaker
            .publishes(&host.channel, word.clone())
            .await
            .unwrap();
        most = most.max(resident_kib(&daemon));
        if daemon.actors().await.connections == before.actors.connections {
            break;
        }
    }

    assert!(
        most < before.resident_kib + 20 * 2 * 1024 + 8 * 1024,
        "{before:?}, {most} at most"
    );
    assert_eq!(daemon.actors().await.connections, before.actors.connections);
    for player in &sleepers {
        assert_eq!(player.seat_in_room(&daemon).await["status"], "away");
    }
    assert!(speaker.is_open());
    drop(asleep);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("20 members that never read").await;
}

/// Subscribes and never reads again. A small window keeps the kernel from reading for it.
async fn sleeps(daemon: &Daemon, player: &Player) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let stream = socket.connect(daemon.address()).await.unwrap();
    let mut raw = Raw { stream };
    raw.says(format!("{}\r\n", upgrade_request(daemon.address())).as_bytes())
        .await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(raw.stream.read_u8().await.unwrap());
    }
    raw.commands(&json!({ "id": 1, "connect": { "token": player.token } }).to_string())
        .await;
    raw.hears().await.expect("connected");
    raw.commands(&json!({ "id": 2, "subscribe": { "channel": player.channel } }).to_string())
        .await;
    raw.hears().await.expect("subscribed");
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_reads_too_slowly_is_told_3008() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.messages_per_second", "100000")
        .set("client.bytes_per_second", "1GiB")
        .set("kind.table.message_max", "64KiB")
        .set("client.queue_count_max", "8")
        .set("client.ping", PATIENT_PING)
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let host = Player::opens(&daemon).await;
    let dawdler = Player::joins(&daemon, &host.room).await;
    // Not subscribed, or it would keep all that it publishes.
    let (mut speaker, _) = host.connects(&daemon).await;
    let mut raw = sleeps(&daemon, &dawdler).await;

    // One message is read for two that are published, however fast the machine is.
    let permits = Arc::new(Semaphore::new(0));
    let allowed = Arc::clone(&permits);
    let reading = tokio::spawn(async move {
        loop {
            allowed.acquire().await.unwrap().forget();
            let (first, payload) = raw.hears().await?;
            if first & 0x0f == CLOSE {
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
    });
    let word = Value::String("x".repeat(32 * 1024));
    let mut published = 0;
    while !reading.is_finished() {
        speaker
            .publishes(&host.channel, word.clone())
            .await
            .unwrap();
        published += 1;
        permits.add_permits(published % 2);
    }

    assert_eq!(reading.await.unwrap(), Some(3008));
    assert_eq!(dawdler.seat_in_room(&daemon).await["status"], "away");
    honest.have_lost_nothing("one that dawdles").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_to_one_that_never_reads_them_are_bounded() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let mut raw = sleeps(&daemon, &player).await;

    let many: Vec<String> = (3..1_000)
        .map(|id| json!({ "id": id, "presence": { "channel": player.channel } }).to_string())
        .collect();
    for _ in 0..200 {
        raw.commands(&many.join("\n")[..60_000.min(many.join("\n").len())])
            .await;
        if daemon.actors().await.connections == before.actors.connections {
            break;
        }
    }

    drop(raw);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("replies that nobody reads").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stops_reading_is_not_noticed_by_the_others_and_comes_back_to_its_seat() {
    const ROUNDS_MAX: usize = 10;
    let daemon = Daemon::on(Database::Sqlite)
        .set("kind.hall.seats", "16")
        .set("kind.hall.message_max", "64KiB")
        .set("kind.hall.history_size", "10000")
        .set("kind.hall.history_bytes", "256MiB")
        .set("client.messages_per_second", "100000")
        .set("client.bytes_per_second", "1GiB")
        .set("kind.table.message_max", "64KiB")
        .set("client.ping", PATIENT_PING)
        .start()
        .await;
    let host = Player::opens_with(&daemon, json!({ "kind": "hall" })).await;
    let sleeper = Player::joins(&daemon, &host.room).await;
    let mut hall = Hall::open(&daemon, &host).await;
    let slow = "holdfast_connections_closed_total{reason=\"slow\"}";

    // The times of one round are much like those of the next, but for what else the machine does meanwhile: one
    // round in which nobody noticed anything is enough, and somebody who waits for a reader shows in all.
    let mut ratios = Vec::new();
    while ratios.len() < ROUNDS_MAX {
        let alone = hall.p99(async |_| false).await;
        let asleep = sleeps(&daemon, &sleeper).await;
        let cut_before = daemon.metric(slow).await;
        let beside = hall
            .p99(async |words| {
                let metrics = daemon.metrics().await;
                let deepest = metrics.value("holdfast_outgoing_queue_deepest_messages");
                assert!(deepest <= 512.0, "{deepest} messages in one queue");
                // It is cut off once its queue is full, and the round goes on until then.
                words < 2_000 && daemon.metric(slow).await == cut_before
            })
            .await;
        assert_eq!(daemon.metric(slow).await, cut_before + 1);
        let seat = sleeper.seat_in_room(&daemon).await;
        assert_eq!(seat["user"]["id"], sleeper.user);
        drop(asleep);
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        println!("p99 {alone:?} without a reader that stopped, {beside:?} with it: {ratio:.2}");
        ratios.push(ratio);
        if ratio <= 2.0 {
            break;
        }
    }
    assert!(ratios.iter().any(|ratio| *ratio <= 2.0), "{ratios:?}");

    comes_back(&daemon, &sleeper, &mut hall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_to_many_channels_and_reads_slowly_is_not_cut_off_for_it() {
    const CHANNELS: usize = 10;
    const WORDS: usize = 8;
    let daemon = Daemon::on(Database::Sqlite)
        .with_api_key()
        .set("kind.lobby.history_bytes", "4MiB")
        .set("client.ping", PATIENT_PING)
        .start()
        .await;
    let player = Player::opens(&daemon).await;
    let word = "x".repeat(60_000);
    let mut commands = Vec::new();
    for number in 0..CHANNELS {
        let channel = format!("lobby:{number}");
        let said = json!({ "publish": { "channel": channel, "data": word } });
        let body = json!({ "commands": vec![said; WORDS] });
        let said = daemon.post_as_game("/api/batch", body).send().await;
        let epoch = &said.expect(200)["replies"][0]["publish"]["epoch"];
        let body = json!({ "channel": channel, "recover": true, "epoch": epoch, "offset": 0 });
        commands.push(json!({ "id": 3 + number, "subscribe": body }).to_string());
    }
    let mut raw = sleeps(&daemon, &player).await;

    // Each alone is less than half the queue; together they are more than all of it.
    raw.commands(&commands.join("\n")).await;
    eventually("all of them are told", async || {
        let metrics = daemon.metrics().await;
        let told = metrics.sum("holdfast_recoveries_total");
        (told == CHANNELS as f64)
            .then_some(())
            .ok_or(format!("{told}"))
    })
    .await;

    for number in 0..CHANNELS {
        let (_, reply) = raw.hears().await.expect("it is not closed");
        let reply: Value = serde_json::from_slice(&reply).expect("it is not closed");
        let told = &reply["subscribe"];
        assert_eq!(reply["id"], 3 + number);
        assert_eq!(told["was_recovering"], true);
        let missed = told["publications"].as_array().map_or(0, Vec::len);
        assert_eq!(told["recovered"] == true, missed == WORDS, "{number}");
        let offset = if missed == 0 { WORDS } else { 0 };
        assert_eq!(told["offset"].as_u64().unwrap_or(0), offset as u64);
    }
    let slow = "holdfast_connections_closed_total{reason=\"slow\"}";
    assert_eq!(daemon.metric(slow).await, 0);
}

/// It is told that it missed something, reads it up, and hears what is said from then on.
async fn comes_back(daemon: &Daemon, sleeper: &Player, hall: &mut Hall) {
    let (mut client, data) = sleeper.connects(daemon).await;
    assert_eq!(data["seats"][0]["seat"], sleeper.seat.unwrap());
    assert_eq!(data["seats"][0]["status"], "held");
    let (epoch, offset) = (hall.epoch.clone(), hall.offset);
    let back = client.recovers(&sleeper.channel, &epoch, offset).await;
    let back = back.unwrap();
    assert_eq!(back["was_recovering"], true);
    assert_eq!(back.get("recovered"), None);
    let top = back["offset"].as_u64().unwrap();
    let mut read = offset;
    while read < top {
        let request = json!({
            "channel": sleeper.channel,
            "limit": 20,
            "since": { "epoch": epoch, "offset": read },
        });
        let page = client.asks("history", request).await.unwrap();
        for publication in page["publications"].as_array().unwrap() {
            assert_eq!(publication["offset"], read + 1);
            read += 1;
        }
    }
    hall.p99(async |_| false).await;
    let next = client.hears_a_player(&sleeper.channel).await;
    assert!(next["offset"].as_u64().unwrap() > top);
    assert!(client.is_open());
}

/// One who speaks, and some who listen closely.
struct Hall {
    speaker: Client,
    listeners: Vec<Client>,
    channel: String,
    /// The stream when everybody had come.
    epoch: String,
    offset: u64,
}

impl Hall {
    async fn open(daemon: &Daemon, host: &Player) -> Hall {
        let guests = join_all((0..6).map(|_| Player::joins(daemon, &host.room))).await;
        let listeners = join_all(guests.iter().map(|guest| guest.sits_down(daemon))).await;
        let (mut speaker, _) = host.connects(daemon).await;
        let subscribed = speaker.subscribes(&host.channel).await.unwrap();
        speaker.unsubscribes(&host.channel).await.unwrap();
        Hall {
            speaker,
            listeners,
            channel: host.channel.clone(),
            epoch: subscribed["epoch"].as_str().unwrap().to_owned(),
            offset: subscribed["offset"].as_u64().unwrap(),
        }
    }

    /// The time from saying a word until a listener hears it, for 99 in 100 of them. Says 100 words, and more while
    /// it is told to.
    async fn p99(&mut self, goes_on: impl AsyncFn(usize) -> bool) -> Duration {
        let mut times = Vec::new();
        let mut words = 0;
        while words < 100 || goes_on(words).await {
            words += 1;
            let word = Value::String("x".repeat(16 * 1024));
            let said = Instant::now();
            self.speaker.publishes(&self.channel, word).await.unwrap();
            for listener in &mut self.listeners {
                listener.hears_a_player(&self.channel).await;
                times.push(said.elapsed());
            }
        }
        times.sort();
        times[times.len() * 99 / 100]
    }
}

//! Members who publish as much as they can.

use futures_util::future::join_all;
use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Honest, start};
use crate::support::{Client, Daemon, Database, Player, Refusal};

/// As it ships: bytes that a connection may publish at once, and in each second after that.
const BURST: usize = 256 << 10;
const RATE: usize = 64 << 10;

/// The largest publication in a lobby, as it ships.
const LOBBY_MESSAGE_MAX: usize = 4 << 10;

/// A JSON text of so many bytes.
fn word(bytes: usize) -> Value {
    json!("x".repeat(bytes - 2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_floods_its_lobby_is_refused_and_cuts_nobody_off() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let mut members = join_all((0..5).map(|_| lobby_member(&daemon))).await;
    let mut flooder = lobby_member(&daemon).await;

    let began = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..300 {
        let publish = json!({ "channel": "lobby:a", "data": word(LOBBY_MESSAGE_MAX) });
        ids.push(flooder.says("publish", publish).await);
    }
    let mut published = 0;
    for id in ids {
        match flooder.reply(id, "publish").await {
            Ok(_) => published += 1,
            Err(refused) => assert_eq!(refused, Refusal::error(111, "too many requests")),
        }
    }
    let most = BURST + RATE * (began.elapsed().as_secs() as usize + 2);

    assert!(published * LOBBY_MESSAGE_MAX <= most, "{published} of 300");
    assert!(published >= 60, "{published} of 300");
    for member in &mut members {
        for _ in 0..published {
            member.hears_a_player("lobby:a").await;
        }
        member
            .publishes("lobby:a", json!("still here"))
            .await
            .unwrap();
    }
    let slow = "holdfast_connections_closed_total{reason=\"slow\"}";
    assert_eq!(daemon.metric(slow).await, 0);
    let limited = "holdfast_commands_limited_total{limit=\"bytes_per_second\"}";
    assert!(daemon.metric(limited).await > 0);
    drop((members, flooder));
    honest.have_lost_nothing("a flood in a lobby").await;
}

async fn lobby_member(daemon: &Daemon) -> Client {
    let (mut client, _) = Client::connect(daemon.address(), "").await;
    client.subscribes("lobby:a").await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_is_too_large_is_refused_with_the_limit_and_nobody_is_closed() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("kind.hall.message_max", "100B")
        .start()
        .await;
    let (mut client, _) = Client::connect(daemon.address(), "").await;
    for (channel, most) in [
        ("lobby:a", LOBBY_MESSAGE_MAX),
        ("hall:a", 100),
        ("hall:b", 100),
    ] {
        client.subscribes(channel).await.unwrap();
        let refused = client.publishes(channel, word(most + 1)).await.unwrap_err();
        let said = format!("{refused:?}");
        assert_eq!(refused.code(), 107, "{said}");
        assert!(said.contains(&most.to_string()), "{said}");

        client.publishes(channel, word(most)).await.unwrap();
        assert_eq!(client.hears_a_player(channel).await["data"], word(most));
    }
    let limited = "holdfast_commands_limited_total{limit=\"message_max\"}";
    assert_eq!(daemon.metric(limited).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_publication_reaches_everybody_through_the_smallest_queue_that_may_be() {
    for (message_max, frame_max, queue) in
        [("16KiB", "24KiB", "32KiB"), ("64KiB", "96KiB", "128KiB")]
    {
        let daemon = Daemon::on(Database::Sqlite)
            .set("client.message_max", frame_max)
            .set("client.queue_bytes_max", queue)
            .set("client.queue_count_max", "8")
            .set("kind.table.message_max", message_max)
            .set("kind.duel.message_max", message_max)
            .set("client.bytes_per_second", "1MiB")
            .start()
            .await;
        for kind in ["table", "duel"] {
            largest_reaches(&daemon, kind, message_max).await;
        }
    }
}

async fn largest_reaches(daemon: &Daemon, kind: &str, message_max: &str) {
    let host = Player::opens_with(daemon, json!({ "kind": kind })).await;
    let guest = Player::joins(daemon, &host.room).await;
    let mut speaker = host.sits_down(daemon).await;
    let mut listener = Client::dial_as(daemon.address(), Encoding::Protobuf).await;
    listener.connects(&guest.token).await.unwrap();
    listener.subscribes(&guest.channel).await.unwrap();
    let kib: usize = message_max.trim_end_matches("KiB").parse().unwrap();
    for _ in 0..5 {
        let largest = word(kib << 10);
        let said = speaker.publishes(&host.channel, largest.clone()).await;
        said.unwrap();
        assert_eq!(speaker.hears_a_player(&host.channel).await["data"], largest);
        assert_eq!(
            listener.hears_a_player(&host.channel).await["data"],
            largest
        );
    }
    assert!(speaker.is_open() && listener.is_open());
}

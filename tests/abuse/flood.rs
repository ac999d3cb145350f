//! Too much of what is allowed.

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use super::raw::{LAST, PING, PONG, frame};
use super::vitals::resident_kib;
use super::{Honest, Raw, Vitals, start};
use crate::support::{Daemon, Database, Player, Refusal, eventually};

/// Control frames, or pongs, that nobody asked for, in ten seconds.
const CONTROLS_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_pings_are_answered_and_the_twenty_first_closes_the_socket() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;

    for control in [PING, PONG] {
        let mut raw = Raw::dial(daemon.address()).await;
        raw.says(&frame(LAST | control, b"hi").repeat(CONTROLS_MAX))
            .await;
        raw.says(&frame(LAST | PING, b"!")).await;
        assert_eq!(raw.close_code().await, Some(1008));
    }
    let mut raw = Raw::dial(daemon.address()).await;
    for _ in 0..CONTROLS_MAX {
        raw.says(&frame(LAST | PING, b"hi")).await;
        assert_eq!(raw.hears().await, Some((LAST | PONG, b"hi".to_vec())));
    }

    drop(raw);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("pings by the dozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_pongs_that_nobody_asked_for_are_ignored_and_many_close_the_socket() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let mut raw = Raw::connect(daemon.address(), &player.token).await;
    raw.commands(&"{}\n".repeat(CONTROLS_MAX)).await;
    raw.commands("{\"id\":2,\"ping\":{}}").await;
    let (_, reply) = raw.hears().await.expect("it is not closed");
    assert_eq!(reply, b"{\"id\":2,\"ping\":{}}");
    raw.commands(&"{}\n".repeat(100)).await;
    assert_eq!(raw.close_code().await, Some(1008));

    drop(raw);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("100 pongs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_by_clients_that_never_read_takes_no_memory() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let flood = frame(LAST | PING, &[b'x'; 125]).repeat(1000);

    join_all((0..10).map(async |_| {
        let mut raw = Raw::dial(daemon.address()).await;
        // At most 130 MB each; the daemon hangs up long before.
        for _ in 0..1000 {
            if raw.stream.write_all(&flood).await.is_err() {
                return;
            }
        }
        panic!("the daemon took a million pings");
    }))
    .await;

    let resident = resident_kib(&daemon);
    assert!(
        resident < before.resident_kib + 8 * 1024,
        "{before:?} {resident}"
    );
    before.come_back(&daemon).await;
    honest.have_lost_nothing("ping floods").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_beyond_the_rate_are_refused_and_the_others_play_on() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let (mut client, _) = player.connects(&daemon).await;
    let mut ids = Vec::new();
    for _ in 0..1_000 {
        let room = serde_json::json!({ "method": "room.get", "data": { "room": player.room } });
        ids.push(client.says("rpc", room).await);
    }
    let mut refused = 0;
    for id in ids {
        match client.reply(id, "rpc").await {
            Ok(_) => {}
            Err(Refusal::Error { code: 111, .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    // A burst of 200, and 100 more in each second that the flood takes.
    assert!(refused > 250, "{refused} of 1,000");

    client.drops_the_line();
    before.come_back(&daemon).await;
    honest.have_lost_nothing("1,000 commands at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_floods_on_is_closed_and_keeps_its_seat() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.messages_per_second", "20")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let (mut client, _) = player.connects(&daemon).await;
    let room = serde_json::json!({ "method": "room.get", "data": { "room": player.room } });
    // A burst of 40 and 200 refusals are borne with, and 20 more of both in each second.
    while client.is_open() {
        client.says("rpc", room.clone()).await;
    }

    assert_eq!(
        client.closed().await,
        (3013, "too many requests".to_owned())
    );
    let closed = "holdfast_connections_closed_total{reason=\"too_many_requests\"}";
    assert_eq!(daemon.metric(closed).await, 1);
    let (client, data) = player.connects(&daemon).await;
    assert_eq!(data["seats"][0]["status"], "held");
    client.drops_the_line();
    before.come_back(&daemon).await;
    honest.have_lost_nothing("a flood of commands").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_connects_too_often_is_told_to_come_back_and_others_are_let_in() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("server.connects_per_second", "2")
        .set("server.trusted_proxies", "[\"127.0.0.1\"]")
        .start()
        .await;
    let from = async |last: u8| {
        let header = format!("x-forwarded-for: 203.0.113.{last}\r\n");
        Raw::dial_with(daemon.address(), &header).await
    };

    let answer = eventually("one too many", async || match from(7).await.1 {
        answer if answer.starts_with("HTTP/1.1 429") => Ok(answer),
        answer => Err(answer),
    })
    .await;
    assert!(answer.contains("retry-after: 1"), "{answer}");
    for other in 10..20 {
        let (_, answer) = from(other).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    eventually("it is let in again", async || match from(7).await.1 {
        answer if answer.starts_with("HTTP/1.1 101") => Ok(()),
        answer => Err(answer),
    })
    .await;
}

//! Too much of what is allowed.

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::raw::{LAST, PING, PONG, frame};
use super::vitals::resident_kib;
use super::{GRACE, Honest, Raw, Vitals, start};
use crate::support::{Player, Refusal};

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
async fn pongs_that_nobody_asked_for_close_the_socket() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let mut raw = Raw::connect(daemon.address(), &player.token).await;
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
    let began = Instant::now();

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

    assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
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
    for _ in 0..2_000 {
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
    assert!(refused > 500, "{refused} of 2,000");

    client.drops_the_line();
    before.come_back(&daemon).await;
    honest.have_lost_nothing("2,000 commands at once").await;
}

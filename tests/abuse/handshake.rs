//! Those who connect and do not come to the point.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, interval, sleep};

use super::raw::upgrade_request;
use super::{Honest, Raw, Vitals, start};
use crate::support::{Daemon, Database, Player, SLACK};

/// A request's head has 5 s, counted from the connection.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_handshakes_that_drip_or_never_begin_are_gone_after_five_seconds() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let began = Instant::now();

    let attack = (0..300).map(async |number| {
        let mut raw = Raw::open(daemon.address()).await;
        match number % 2 {
            0 => drip(&mut raw, upgrade_request(daemon.address()).as_bytes()).await,
            _ => _ = raw.ends().await,
        }
    });
    let newcomer = async {
        let player = Player::opens(&daemon).await;
        player.sits_down(&daemon).await;
        assert!(
            daemon
                .delete("/v1/session")
                .by(&player.token)
                .send()
                .await
                .status
                == 204
        );
    };
    tokio::join!(join_all(attack), newcomer);

    assert!(
        began.elapsed() < HEAD_WITHIN + SLACK,
        "{:?}",
        began.elapsed()
    );
    assert!(began.elapsed() >= HEAD_WITHIN - Duration::from_millis(500));
    honest.have_lost_nothing("300 slow handshakes").await;
    let after = Vitals::of(&daemon).await;
    assert!(
        after.files <= before.files + before.files / 10,
        "{before:?} {after:?}"
    );
}

/// One byte every quarter of a second, until the daemon hangs up.
async fn drip(raw: &mut Raw, request: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut ticks = interval(Duration::from_millis(250));
    let (mut reader, mut writer) = raw.stream.split();
    let dripping = async {
        for byte in request {
            ticks.tick().await;
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
        panic!("the daemon took a head of {} s", request.len() / 4);
    };
    let hearing = async {
        let mut buffer = [0; 1024];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    };
    tokio::select! {
        () = dripping => {}
        () = hearing => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_never_connects_is_closed_as_stale() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.connect_timeout", "1s")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;

    let silent = (0..100).map(async |_| Raw::dial(daemon.address()).await.close_code().await);
    let codes = join_all(silent).await;

    assert!(codes.iter().all(|code| *code == Some(3502)), "{codes:?}");
    before.come_back(&daemon).await;
    honest
        .have_lost_nothing("100 sockets that never connect")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_or_too_many_are_refused_and_cost_nothing() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let large = format!("x-large: {}\r\n", "x".repeat(800 * 1024));
    let many: String = (0..136).map(|n| format!("x-{n}: 1\r\n")).collect();
    let line = format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000));

    for headers in [&large, &many] {
        let (_, answer) = Raw::dial_with(daemon.address(), headers).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let mut raw = Raw::open(daemon.address()).await;
    raw.says(line.as_bytes()).await;
    let answer = raw.ends().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    let mut slow = Raw::open(daemon.address()).await;
    for byte in format!("{}\r\n", upgrade_request(daemon.address())).bytes() {
        slow.says(&[byte]).await;
    }
    assert_eq!(
        slow.stream.readable().await.ok(),
        Some(()),
        "byte by byte is no fault"
    );
    drop(slow);

    sleep(Duration::from_millis(500)).await;
    before.come_back(&daemon).await;
    honest.have_lost_nothing("oversized heads").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_an_end_or_with_two_lengths_are_refused() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let post = |headers: &str, body: &str| {
        let address = daemon.address();
        format!("POST /v1/rooms HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n{body}")
    };
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let endless = post("transfer-encoding: chunked\r\n", &chunk.repeat(17));
    let unfinished = post("content-length: 100\r\nconnection: close\r\n", "{");
    let two_lengths = post("content-length: 2\r\ncontent-length: 3\r\n", "{} ");
    // Chunks count where both are said, so no byte of the body can pass for a second request.
    let two_ways = post(
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "d\r\n{\"kind\":\"no\"}\r\n0\r\n\r\n",
    );
    let asks = async |request: &str, status: &str| {
        let mut raw = Raw::open(daemon.address()).await;
        raw.says(request.as_bytes()).await;
        let answer = raw.ends().await;
        assert!(answer.contains(status), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    };

    let waiting = (0..50).map(|_| asks(&unfinished, "408 Request Timeout"));
    tokio::join!(
        join_all(waiting),
        asks(&endless, "413 Payload Too Large"),
        asks(&two_lengths, "400 Bad Request"),
        asks(&two_ways, "UNKNOWN_KIND"),
    );

    before.come_back(&daemon).await;
    honest.have_lost_nothing("bodies without an end").await;
}

//! Frames that no client library sends.

use futures_util::future::join_all;
use serde_json::json;

use super::raw::{CLOSE, LAST, PING, TEXT, frame, head};
use super::{Honest, Raw, Vitals, start};
use crate::support::{Daemon, Database, Player, eventually};

/// As in `client.message_max`.
const MESSAGE_MAX: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_the_protocol_end_their_own_socket_with_the_right_code() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let unmasked = vec![LAST | TEXT, 2, b'{', b'}'];
    let cases = [
        ("unmasked", unmasked, 1002),
        ("compressed", frame(LAST | 0x40 | TEXT, b"{}"), 1002),
        ("reserved bit", frame(LAST | 0x10 | TEXT, b"{}"), 1002),
        ("reserved opcode", frame(LAST | 0x3, b"{}"), 1002),
        ("reserved control", frame(LAST | 0xB, b""), 1002),
        ("long ping", frame(LAST | PING, &[0; 126]), 1002),
        ("ping in parts", frame(PING, b""), 1002),
        ("continues nothing", frame(LAST, b"{}"), 1002),
        (
            "text in text",
            [frame(TEXT, b"{"), frame(TEXT, b"}")].concat(),
            1002,
        ),
        ("close of one byte", frame(LAST | CLOSE, b"x"), 1002),
        (
            "close 999",
            frame(LAST | CLOSE, &999u16.to_be_bytes()),
            1002,
        ),
        ("no utf-8", frame(LAST | TEXT, b"\xff\xfe"), 1007),
        (
            "one byte too many",
            frame(LAST | TEXT, &[b' '; MESSAGE_MAX + 1]),
            1009,
        ),
        ("2^62 bytes declared", head(LAST | TEXT, 1 << 62), 1009),
        ("2^63 bytes declared", head(LAST | TEXT, 1 << 63), 1009),
    ];

    for (case, bytes, code) in cases {
        let mut raw = Raw::dial(daemon.address()).await;
        raw.says(&bytes).await;
        assert_eq!(raw.close_code().await, Some(code), "{case}");
    }

    before.come_back(&daemon).await;
    honest.have_lost_nothing("malformed frames").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_never_agreed_to() {
    let daemon = start().await;

    let offer = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    let (_, answer) = Raw::dial_with(daemon.address(), offer).await;

    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_may_have_the_largest_size_and_sixty_four_fragments_but_not_one_more() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let player = Player::opens(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let mut raw = Raw::connect(daemon.address(), &player.token).await;

    let mut largest = json!({ "id": 2, "ping": {} }).to_string();
    largest.push_str(&" ".repeat(MESSAGE_MAX - largest.len()));
    raw.commands(&largest).await;
    let (_, reply) = raw.hears().await.expect("an answer to the largest message");
    assert!(reply.starts_with(b"{\"id\":2"), "{reply:?}");
    raw.says(&frame(TEXT, b"{\"id\":3,\"ping\":{}}")).await;
    raw.says(&frame(0, b"").repeat(62)).await;
    raw.says(&frame(LAST, b"")).await;
    let (_, reply) = raw.hears().await.expect("an answer to 64 fragments");
    assert!(reply.starts_with(b"{\"id\":3"), "{reply:?}");
    raw.says(&frame(TEXT, b"{")).await;
    raw.says(&frame(0, b"").repeat(64)).await;
    assert_eq!(raw.close_code().await, Some(1008));

    drop(raw);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("64 fragments").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_fragments_is_cut_off() {
    let daemon = start().await;
    let honest = Honest::play(&daemon).await;
    let before = Vitals::of(&daemon).await;
    let flood = frame(0, b"").repeat(100_000);

    let codes = join_all((0..20).map(async |_| {
        let mut raw = Raw::dial(daemon.address()).await;
        raw.says(&frame(TEXT, b"{")).await;
        let (mut reader, mut writer) = raw.stream.into_split();
        let flood = flood.clone();
        let flooding = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            // Fails when the daemon hangs up, which is the point.
            let _ = writer.write_all(&flood).await;
        });
        let code = read_close(&mut reader).await;
        flooding.abort();
        code
    }))
    .await;

    assert!(codes.iter().all(|code| *code == Some(1008)), "{codes:?}");
    before.come_back(&daemon).await;
    honest.have_lost_nothing("2,000,000 empty fragments").await;
}

async fn read_close(reader: &mut tokio::net::tcp::OwnedReadHalf) -> Option<u16> {
    use tokio::io::AsyncReadExt;
    let first = reader.read_u8().await.ok()?;
    let _length = reader.read_u8().await.ok()?;
    assert_eq!(first, LAST | CLOSE);
    reader.read_u16().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_messages_that_are_never_finished_are_bounded_and_closed_after_ten_seconds() {
    let daemon = Daemon::on(Database::Sqlite)
        .set("client.connect_timeout", "30s")
        .start()
        .await;
    let honest = Honest::play(&daemon).await;
    let unfinished = frame(TEXT, &[b' '; MESSAGE_MAX - 1]);
    let hold = || {
        join_all((0..100).map(async |_| {
            let mut raw = Raw::dial(daemon.address()).await;
            raw.says(&unfinished).await;
            raw
        }))
    };
    // The allocator keeps what a first round took; a second one shows whether it grows.
    drop(hold().await);
    eventually("the first round is gone", async || {
        let connections = daemon.actors().await.connections;
        (connections == 50)
            .then_some(())
            .ok_or(connections.to_string())
    })
    .await;
    let before = Vitals::of(&daemon).await;

    let mut holders = hold().await;
    let during = Vitals::of(&daemon).await;
    // Twice the message, as a growing buffer may be, and 32 KiB for each connection.
    let most = before.resident_kib + 100 * (2 * 64 + 32);
    assert!(during.resident_kib < most, "{before:?} {during:?}");
    let codes = join_all(holders.iter_mut().map(Raw::close_code)).await;

    assert!(codes.iter().all(|code| *code == Some(1008)), "{codes:?}");
    drop(holders);
    before.come_back(&daemon).await;
    honest.have_lost_nothing("100 unfinished messages").await;
}

//! The hub behind the reverse proxies that people put in front of it, configured as `docs/proxies.md` says.

mod front;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

use self::front::{Front, Product};
use crate::support::{Client, Daemon, Database, PATIENCE, Player, eventually};

/// A little longer than the head of a request may take, which is no limit for a connection that is kept.
const LONGER_THAN_A_HEAD: Duration = Duration::from_millis(5_300);

async fn start() -> (Daemon, [Front; 2]) {
    start_with(&[]).await
}

async fn start_with(settings: &[(&str, &str)]) -> (Daemon, [Front; 2]) {
    let mut plan = Daemon::on(Database::Sqlite)
        .set("server.trusted_proxies", "127.0.0.1")
        .set("client.ping", "1s")
        .set("client.pong_timeout", "900ms");
    for (key, value) in settings {
        plan = plan.set(key, value);
    }
    let daemon = plan.start().await;
    let fronts = tokio::join!(
        Front::start(Product::Nginx, daemon.address()),
        Front::start(Product::Haproxy, daemon.address()),
    );
    (daemon, fronts.into())
}

async fn enters(front: &Front, path: &str, status: u16) -> Player {
    let body = json!({ "guest": { "name": "Ana" } });
    let answer = front.request("POST", path).json(&body).send().await;
    Player::from(&answer.expect(status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_played_through_a_proxy_and_its_sockets_outlive_their_pings() {
    let (daemon, fronts) = start().await;
    for front in &fronts {
        let ana = enters(front, "/v1/rooms", 201).await;
        let bo = enters(front, &format!("/v1/rooms/{}/join", ana.room), 200).await;
        let (mut hers, _) = Client::connect(front.address(), &ana.token).await;
        let (mut his, _) = Client::connect(front.address(), &bo.token).await;
        hers.subscribes(&ana.channel).await.unwrap();
        his.subscribes(&ana.channel).await.unwrap();

        let pongs = "holdfast_messages_received_total{kind=\"pong\"}";
        let before = daemon.metric(pongs).await;
        eventually("pings are answered through the proxy", async || {
            let answered = daemon.metric(pongs).await - before;
            let is_enough = answered >= 6;
            is_enough.then_some(()).ok_or(format!("{answered} pongs"))
        })
        .await;

        hers.publishes(&ana.channel, json!({ "move": "e2e4" }))
            .await
            .unwrap();
        let heard = his.hears_a_player(&ana.channel).await;
        assert_eq!(heard["data"]["move"], "e2e4");
        assert_eq!(ana.seat_in_room(&daemon).await["status"], "held");

        hers.drops_the_line();
        his.hears_news(&ana.channel, "seat.away").await;
        let (_back, data) = Client::connect(front.address(), &ana.token).await;
        assert_eq!(data["data"]["seats"][0]["room"], ana.room);
    }
}

/// Proxies keep connections to the hub, and must not send a POST again that went into one which was just being closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_into_a_connection_that_a_proxy_has_kept_is_answered() {
    let (_daemon, fronts) = start().await;
    for front in &fronts {
        enters(front, "/v1/rooms", 201).await;
    }
    sleep(LONGER_THAN_A_HEAD).await;
    for front in &fronts {
        for _ in 0..3 {
            enters(front, "/v1/rooms", 201).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_behind_a_proxy_count_for_their_own_addresses() {
    let (_daemon, fronts) = start_with(&[("server.connections_per_address_max", "1")]).await;
    for (number, front) in fronts.iter().enumerate() {
        let from = |host: usize| format!("x-forwarded-for: 203.0.113.{}\r\n", 10 * number + host);
        let (first, answer) = upgrades(front, &from(1)).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let (_, answer) = upgrades(front, &from(1)).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        assert!(answer.contains("retry-after: "), "{answer}");
        // What a client writes in front of its own address is not believed.
        let forged = format!("x-forwarded-for: 198.51.100.9\r\n{}", from(1));
        let (_, answer) = upgrades(front, &forged).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        let (_second, answer) = upgrades(front, &from(2)).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        drop(first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_proxys_own_host_and_port_connects_and_any_other_does_not() {
    let allowed = [("server.allowed_origins", "[\"https://game.example:8443\"]")];
    let (daemon, fronts) = start_with(&allowed).await;
    for front in &fronts {
        // A real address of a game has a name; with `--dev` a page of this machine would be admitted anyway.
        let page = |host: &str, origin: &str| format!("host: {host}\r\norigin: {origin}\r\n");
        let own = page("game.example:8443", "https://game.example:8443");
        let (_socket, answer) = upgrades(front, &own).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let foreign = page("game.example:8443", "https://evil.example");
        for _ in 0..3 {
            let (_, answer) = upgrades(front, &foreign).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        }
    }
    let log = daemon.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("https://evil.example"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("server.allowed_origins"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_kilobytes_of_cookies_do_not_keep_a_player_out() {
    let (_daemon, fronts) = start().await;
    for front in &fronts {
        let cookies = "x".repeat(16 * 1024);
        let (_socket, answer) = upgrades(front, &format!("cookie: a={cookies}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
}

/// Asks for a socket with more headers; the line, and the head of the answer. A header `host` takes the place of the
/// address.
async fn upgrades(front: &Front, headers: &str) -> (TcpStream, String) {
    let host = match headers.starts_with("host: ") {
        true => String::new(),
        false => format!("host: {}\r\n", front.address()),
    };
    let request = format!(
        "GET /connection/websocket HTTP/1.1\r\n{host}{headers}connection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    );
    let mut stream = TcpStream::connect(front.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, reading).await.expect("an answer");
    (
        stream,
        String::from_utf8(answer)
            .unwrap()
            .to_lowercase()
            .replacen("http/", "HTTP/", 1),
    )
}

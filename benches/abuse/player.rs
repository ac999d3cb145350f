//! Clients of the real protocol, for honest players and attackers.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

const ROOMS: usize = 10;
const SEATS: usize = 4;

/// Time between two publications of a player.
const PACE: Duration = Duration::from_millis(100);

/// A WebSocket to the hub.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    next: u64,
}

impl Client {
    /// Connects with a token, or as a guest if it is empty, from the address in the proxy's header.
    pub(crate) async fn connect(hub: SocketAddr, from: &str, token: &str) -> Option<Client> {
        let stream = TcpStream::connect(hub).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut request = format!("ws://{hub}/connection/websocket")
            .into_client_request()
            .ok()?;
        let headers = request.headers_mut();
        headers.insert("x-forwarded-for", from.parse().ok()?);
        let (socket, _) = client_async(request, stream).await.ok()?;
        let mut client = Client { socket, next: 0 };
        let connected = client.ask("connect", json!({ "token": token })).await?;
        connected.get("connect").is_some().then_some(client)
    }

    /// Sends a command and returns its number.
    pub(crate) async fn say(&mut self, command: &str, body: Value) -> Option<u64> {
        self.next += 1;
        let mut frame = json!({ "id": self.next });
        frame[command] = body;
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        sent.ok().map(|()| self.next)
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&mut self, command: &str, body: Value) -> Option<Value> {
        let id = self.say(command, body).await?;
        loop {
            for reply in self.hear().await? {
                if reply["id"] == id {
                    return Some(reply);
                }
            }
        }
    }

    /// Returns everything in the next frame, and answers a ping.
    pub(crate) async fn hear(&mut self) -> Option<Vec<Value>> {
        let text = self.socket.next().await?.ok()?.into_text().ok()?;
        let frames: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if frames.contains(&json!({})) {
            self.socket.send(Message::text("{}")).await.ok()?;
        }
        Some(frames)
    }
}

/// Sends one HTTP request from an address; returns its status and body.
pub(crate) async fn http(
    hub: SocketAddr,
    from: &str,
    line: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(hub).await.ok()?;
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {hub}\r\nconnection: close\r\nx-forwarded-for: {from}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

/// Honest players, four to a table.
pub(crate) struct Players(Vec<(Client, String)>);

impl Players {
    pub(crate) async fn sit_down(hub: SocketAddr) -> Players {
        let mut players = Vec::new();
        for room in 0..ROOMS {
            let mut code = String::new();
            for seat in 0..SEATS {
                let from = format!("198.51.100.{}", 1 + room * SEATS + seat);
                let line = match code.as_str() {
                    "" => "POST /v1/rooms".to_owned(),
                    code => format!("POST /v1/rooms/{code}/join"),
                };
                let guest = json!({ "guest": { "name": "Ana" } }).to_string();
                let (status, body) = http(hub, &from, &line, "", &guest)
                    .await
                    .expect("the hub is up");
                assert!(status == 200 || status == 201, "{status}: {body}");
                code = text(&body["room"]["code"]);
                let (token, channel) = (
                    text(&body["session"]["token"]),
                    text(&body["room"]["channel"]),
                );
                let mut client = Client::connect(hub, &from, &token)
                    .await
                    .expect("connected");
                client.ask("subscribe", json!({ "channel": channel })).await;
                players.push((client, channel));
            }
        }
        Players(players)
    }

    /// Returns the 99th percentile of the time from a scheduled publish to its reply, in milliseconds.
    pub(crate) async fn p99(&mut self, time: Duration) -> f64 {
        let end = Instant::now() + time;
        let speaking = self.0.iter_mut().map(async |(client, channel)| {
            let mut times = Vec::new();
            let mut due = Instant::now();
            while due < end {
                sleep_until(due).await;
                let word = json!({ "channel": channel, "data": { "move": times.len() } });
                let reply = client.ask("publish", word).await;
                let reply = reply.expect("an honest player was cut off");
                assert!(reply.get("publish").is_some(), "{reply}");
                // From the scheduled time: while a player waits for a reply, it publishes nothing.
                times.push(due.elapsed());
                due += PACE;
            }
            times
        });
        let mut times: Vec<Duration> = join_all(speaking).await.into_iter().flatten().collect();
        times.sort();
        let at = (times.len() * 99 / 100).min(times.len() - 1);
        times[at].as_secs_f64() * 1000.0
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

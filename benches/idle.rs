//! What a connected, seated, idle player costs the daemon in resident memory: 5,000 of them, 8 to a room.
//!
//! `cargo bench --bench idle`; `PLAYERS=n` for another number. The daemon and this program hold a file
//! descriptor for each player: `ulimit -n 6000`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use support::daemon::Daemon;
use support::machine::{facts, median, rounded};

mod support {
    pub(crate) mod daemon;
    pub(crate) mod machine;
}

const PLAYERS: usize = 5_000;

const SEATS: usize = 8;

const ROUNDS: usize = 3;

/// Rooms that are being filled, and players who are connecting, at one time.
const AT_A_TIME: usize = 64;

/// After the last player is in, and after the last has left: the daemon finishes what it is at. Shorter
/// than the first ping, so that nothing is said meanwhile.
const SETTLE: Duration = Duration::from_secs(4);

const SETTINGS: &[(&str, &str)] = &[
    ("kind.idle.seats", "8"),
    ("kind.idle.history_size", "0"),
    ("log.level", "warn"),
];

/// A seated player, before connecting.
struct Seated {
    token: String,
    channel: String,
}

type Client = WebSocketStream<TcpStream>;

/// Resident memory of the daemon, in KiB.
#[derive(Debug, Clone, Copy)]
struct Round {
    empty: f64,
    /// Everybody sits, nobody is connected.
    seated: f64,
    connected: f64,
    left: f64,
}

#[tokio::main]
async fn main() {
    let players = std::env::var("PLAYERS")
        .ok()
        .map_or(PLAYERS, |text| text.parse().expect("PLAYERS is a number"));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let round = measure(players).await;
        eprintln!("{round:?}");
        rounds.push(round);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let each = |kib: f64| rounded(kib / players as f64, 2);
    let middle = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let line = json!({
        "bench": "idle",
        "database": "sqlite",
        "players": players,
        "per_room": SEATS,
        "kib_per_player": each(middle(|round| round.connected - round.empty)),
        "goal_kib": 26,
        "kib_per_seated_session_without_connection": each(middle(|round| round.seated - round.empty)),
        "rss_kib": {
            "empty": middle(|round| round.empty),
            "connected": middle(|round| round.connected),
            "all_left": middle(|round| round.left),
        },
        "machine": facts(folder.path()),
    });
    println!("{line}");
}

async fn measure(players: usize) -> Round {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = Arc::new(Daemon::start(folder.path(), SETTINGS).await);
    let empty = resident(&daemon);

    let rooms = futures_util::stream::iter(0..players / SEATS)
        .map(|_| fill_room(&daemon))
        .buffer_unordered(AT_A_TIME);
    let everybody: Vec<Seated> = rooms.flat_map(futures_util::stream::iter).collect().await;
    tokio::time::sleep(SETTLE).await;
    let seated = resident(&daemon);

    let clients: Vec<Client> = futures_util::stream::iter(&everybody)
        .map(|player| connect(&daemon, player))
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await
        .expect("the hub takes everybody; `ulimit -n` must be above the number of players");
    let playing: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(answer_pings(client)))
        .collect();
    tokio::time::sleep(SETTLE).await;
    let connected = resident(&daemon);

    for player in playing {
        assert!(!player.is_finished(), "nobody is thrown out");
        player.abort();
    }
    tokio::time::sleep(SETTLE).await;
    Round {
        empty,
        seated,
        connected,
        left: resident(&daemon),
    }
}

async fn fill_room(daemon: &Daemon) -> Vec<Seated> {
    let guest = json!({ "name": "Guest" });
    let opening = json!({ "kind": "idle", "guest": guest });
    let first = post(daemon, "/v1/rooms", &opening).await;
    let path = format!("/v1/rooms/{}/join", text(&first["room"]["code"]));
    let mut everybody = vec![seated(&first)];
    for _ in 1..SEATS {
        let joined = post(daemon, &path, &json!({ "guest": guest })).await;
        everybody.push(seated(&joined));
    }
    everybody
}

/// Posts a body and returns the answer's.
async fn post(daemon: &Daemon, path: &str, body: &Value) -> Value {
    let answer = daemon.ask("POST", path, &body.to_string()).await;
    let (status, answer) = answer.expect("the daemon answers");
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    serde_json::from_str(&answer).expect("the client API answers in JSON")
}

fn seated(answer: &Value) -> Seated {
    Seated {
        token: text(&answer["session"]["token"]),
        channel: text(&answer["seat"]["channel"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Connects and subscribes to the room, as every client of the protocol does.
async fn connect(daemon: &Daemon, player: &Seated) -> Result<Client, String> {
    let address = daemon.address;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    // Small, because this program holds as many as the daemon.
    let config = WebSocketConfig::default().read_buffer_size(1024);
    let url = format!("ws://{address}/connection/websocket");
    let (mut client, _) = client_async_with_config(url, stream, Some(config))
        .await
        .map_err(|error| error.to_string())?;
    let connect = json!({ "id": 1, "connect": { "token": player.token } });
    let subscribe = json!({ "id": 2, "subscribe": { "channel": player.channel } });
    for (id, command) in [(1, connect), (2, subscribe)] {
        client
            .send(Message::text(command.to_string()))
            .await
            .map_err(|error| error.to_string())?;
        await_reply(&mut client, id).await?;
    }
    Ok(client)
}

/// Waits for the reply to a command, past what others in the room do meanwhile.
async fn await_reply(client: &mut Client, id: u64) -> Result<(), String> {
    while let Some(message) = client.next().await {
        let Message::Text(frame) = message.map_err(|error| error.to_string())? else {
            continue;
        };
        for line in frame.lines() {
            let reply: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            if reply["id"] == id {
                return match reply.get("error") {
                    None => Ok(()),
                    Some(error) => Err(error.to_string()),
                };
            }
        }
    }
    Err("the daemon hung up".to_owned())
}

async fn answer_pings(mut client: Client) {
    while let Some(Ok(message)) = client.next().await {
        if message == Message::text("{}") && client.send(Message::text("{}")).await.is_err() {
            return;
        }
    }
}

fn resident(daemon: &Daemon) -> f64 {
    let path = format!("/proc/{}/status", daemon.child.id());
    let status = fs::read_to_string(path).expect("the daemon runs, on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib = number.and_then(|number| number.parse().ok());
    kib.expect("the kernel tells the resident memory in kB")
}

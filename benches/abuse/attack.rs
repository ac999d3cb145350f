//! Attacks from one address: each overuses something that an anonymous client may do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::player::{Client, http, text};

/// Concurrent connections or callers of one attack.
const CALLERS: usize = 16;

/// Members of the lobby that is queried.
const CROWD: usize = 300;

/// The address of all attackers.
const FROM: &str = "203.0.113.1";

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A sort of attack: the code that each of its callers repeats until the attack ends.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    call: fn(SocketAddr, usize) -> Running,
}

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "seats",
        call: |hub, _| Box::pin(seats(hub)),
    },
    Attack {
        name: "guests",
        call: |hub, _| Box::pin(posts(hub, "POST /v1/sessions")),
    },
    Attack {
        name: "rooms",
        call: |hub, _| Box::pin(posts(hub, "POST /v1/rooms")),
    },
    Attack {
        name: "codes",
        call: |hub, number| Box::pin(codes(hub, number)),
    },
    Attack {
        name: "lobby",
        call: |hub, _| Box::pin(lobby(hub)),
    },
    Attack {
        name: "channels",
        call: |hub, number| Box::pin(channels(hub, number)),
    },
    Attack {
        name: "silent",
        call: |hub, _| Box::pin(silent(hub)),
    },
    Attack {
        name: "presence",
        call: |hub, _| Box::pin(questions(hub, "presence")),
    },
    Attack {
        name: "presence_stats",
        call: |hub, _| Box::pin(questions(hub, "presence_stats")),
    },
    Attack {
        name: "history",
        call: |hub, _| Box::pin(questions(hub, "history")),
    },
    Attack {
        name: "tokens",
        call: |hub, number| Box::pin(tokens(hub, number)),
    },
    Attack {
        name: "keys",
        call: |hub, number| Box::pin(keys(hub, number)),
    },
    Attack {
        name: "comes_and_goes",
        call: |hub, _| Box::pin(comes_and_goes(hub)),
    },
];

impl Attack {
    /// Starts the attack on a thread of its own: a burst of it keeps no player of this program from its turn. The
    /// returned future ends after `over` is cancelled.
    pub(crate) fn begin(
        &self,
        hub: SocketAddr,
        over: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let call = self.call;
        let attacking = async move {
            let calling = (0..CALLERS).map(|number| {
                let over = over.clone();
                async move {
                    while !over.is_cancelled() {
                        tokio::select! {
                            () = over.cancelled() => return,
                            // The hub cut it off: it tries again.
                            () = call(hub, number) => sleep(Duration::from_millis(5)).await,
                        }
                    }
                }
            });
            join_all(calling).await;
        };
        let (ended, has_ended) = oneshot::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(attacking);
            let _ = ended.send(());
        });
        async move {
            has_ended.await.expect("an attack does not panic");
        }
    }
}

/// Fetches a session that holds as many seats as it may have.
async fn seats(hub: SocketAddr) {
    let guest = json!({ "guest": { "name": "Eve" } }).to_string();
    let Some((201, body)) = http(hub, FROM, "POST /v1/sessions", "", &guest).await else {
        return;
    };
    let token = text(&body["session"]["token"]);
    let header = format!("authorization: Bearer {token}\r\n");
    for _ in 0..100 {
        let opened = http(hub, FROM, "POST /v1/rooms", &header, "{}").await;
        if opened.is_none_or(|(status, _)| status != 201) {
            break;
        }
    }
    for _ in 0..200 {
        let _ = http(hub, FROM, "GET /v1/session", &header, "").await;
    }
}

async fn posts(hub: SocketAddr, line: &str) {
    let guest = json!({ "guest": { "name": "Eve" } }).to_string();
    while http(hub, FROM, line, "", &guest).await.is_some() {}
}

async fn codes(hub: SocketAddr, number: usize) {
    const LETTERS: &[u8] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
    for guess in 0.. {
        let letter = |place: usize| char::from(LETTERS[(guess * CALLERS + number) / place % 30]);
        let code = format!(
            "ZZ{}{}{}{}",
            letter(27_000),
            letter(900),
            letter(30),
            letter(1)
        );
        let line = format!("GET /v1/rooms/{code}");
        if http(hub, FROM, &line, "", "").await.is_none() {
            return;
        }
    }
}

/// Publishes as fast as it can in a lobby of all attackers, and reads only as far as each reply.
async fn lobby(hub: SocketAddr) {
    publishes(hub, |_| "lobby:flood".to_owned()).await;
}

/// Does the same in channels with made-up names.
async fn channels(hub: SocketAddr, number: usize) {
    publishes(hub, |turn| format!("lobby:{number}-{}", turn % 100)).await;
}

async fn publishes(hub: SocketAddr, channel: impl Fn(usize) -> String) {
    let Some(mut client) = Client::connect(hub, FROM, "").await else {
        return;
    };
    let word = "x".repeat(4_000);
    for turn in 0.. {
        let channel = channel(turn);
        if client
            .ask("subscribe", json!({ "channel": channel }))
            .await
            .is_none()
        {
            return;
        }
        let said = json!({ "channel": channel, "data": word });
        if client.ask("publish", said).await.is_none() {
            return;
        }
    }
}

/// Holds sockets open and sends nothing: 1,600 new ones a second from all callers together, evenly, because on one
/// machine a burst would measure the cost of connecting.
async fn silent(hub: SocketAddr) {
    let mut held = VecDeque::new();
    let mut pace = interval(Duration::from_millis(10));
    loop {
        pace.tick().await;
        match TcpStream::connect(hub).await {
            Ok(stream) => held.push_back(stream),
            Err(_) => return,
        }
        if held.len() > 200 {
            held.pop_front();
        }
    }
}

/// Sends a query with a large answer.
async fn questions(hub: SocketAddr, question: &str) {
    let crowd = (0..CROWD / CALLERS).map(|_| member(hub));
    let crowd: Vec<Client> = join_all(crowd).await.into_iter().flatten().collect();
    let Some(mut asker) = member(hub).await else {
        return;
    };
    let body = json!({ "channel": "lobby:crowd", "limit": -1 });
    for _ in 0..10 {
        let word = json!({ "channel": "lobby:crowd", "data": "x".repeat(4_000) });
        let _ = asker.ask("publish", word).await;
    }
    while asker.ask(question, body.clone()).await.is_some() {}
    drop(crowd);
}

async fn member(hub: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(hub, FROM, "").await?;
    let channel = json!({ "channel": "lobby:crowd" });
    client.ask("subscribe", channel).await?;
    Some(client)
}

async fn tokens(hub: SocketAddr, number: usize) {
    for guess in 0.. {
        let token = format!("hfs_{number:02}{guess:010}{}", "0".repeat(31));
        let header = format!("authorization: Bearer {token}\r\n");
        if http(hub, FROM, "GET /v1/session", &header, "")
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn keys(hub: SocketAddr, number: usize) {
    for guess in 0.. {
        let header = format!("x-api-key: guess-{number}-{guess}\r\n");
        if http(hub, FROM, "POST /api/info", &header, "{}")
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Opens a room and leaves it.
async fn comes_and_goes(hub: SocketAddr) {
    let Some(mut client) = Client::connect(hub, FROM, "").await else {
        return;
    };
    loop {
        let open = json!({ "method": "room.open", "data": {} });
        let Some(opened) = client.ask("rpc", open).await else {
            return;
        };
        let room = text(&opened["rpc"]["data"]["room"]["code"]);
        let leave = json!({ "method": "room.leave", "data": { "room": room } });
        if client.ask("rpc", leave).await.is_none() {
            return;
        }
    }
}

//! A line to PostgreSQL that can be cut, or frozen, at the worst moment.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// CommandComplete of a COMMIT as the server says it: its tag, with the terminator.
const COMMITTED: &[u8] = b"COMMIT\0";

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) url: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// What becomes of the connection on which a COMMIT is answered next; the answer is swallowed.
    at_commit: Mutex<Option<Fate>>,
    swallowed: AtomicUsize,
    connections: AtomicUsize,
    /// Connections with lower numbers pass nothing any more.
    frozen_below: AtomicUsize,
    /// Whether the line is dead: no connection, old or new, passes it.
    is_dead: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Cut,
    /// Open, and silent for ever.
    Frozen,
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub(super) async fn before(url: &str) -> Proxy {
        let server: PgConnectOptions = url.parse().unwrap();
        let target = format!("{}:{}", server.get_host(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            at_commit: Mutex::new(None),
            swallowed: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            frozen_below: AtomicUsize::new(0),
            is_dead: watch::Sender::new(false),
        });
        // The same URL, but for the place: user, password and database stay.
        let (before, database) = url.rsplit_once('/').unwrap();
        let (credentials, _) = before.rsplit_once('@').unwrap();
        let url = format!("{credentials}@{address}/{database}?sslmode=disable");
        tokio::spawn(accept(listener, target, state.clone()));
        Proxy { url, state }
    }

    /// Swallows the next answer to a COMMIT.
    pub(super) fn swallow_next_commit(&self, fate: Fate) {
        *self.state.at_commit.lock() = Some(fate);
    }

    pub(super) fn swallowed(&self) -> usize {
        self.state.swallowed.load(Ordering::SeqCst)
    }

    /// Connections that are open now stay so, and pass nothing for ever.
    pub(super) fn freeze_connections(&self) {
        let opened = self.state.connections.load(Ordering::SeqCst);
        self.state.frozen_below.store(opened, Ordering::SeqCst);
    }

    pub(super) fn set_dead(&self, is_dead: bool) {
        self.state.is_dead.send_replace(is_dead);
    }
}

async fn accept(listener: TcpListener, target: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (target, state) = (target.clone(), state.clone());
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            if *state.is_dead.borrow() {
                return;
            }
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            let mut is_dead = state.is_dead.subscribe();
            tokio::select! {
                () = pass(client, server, number, &state) => {}
                _ = is_dead.wait_for(|is_dead| *is_dead) => {}
            }
        });
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, number: usize, state: &State) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            freeze(number, state).await;
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            freeze(number, state).await;
            let is_commit = bytes[..count]
                .windows(COMMITTED.len())
                .any(|window| window == COMMITTED);
            let fate = is_commit.then(|| state.at_commit.lock().take()).flatten();
            if let Some(fate) = fate {
                state.swallowed.fetch_add(1, Ordering::SeqCst);
                match fate {
                    Fate::Cut => return,
                    Fate::Frozen => pending().await,
                }
            }
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn freeze(number: usize, state: &State) {
    if number < state.frozen_below.load(Ordering::SeqCst) {
        pending().await
    }
}

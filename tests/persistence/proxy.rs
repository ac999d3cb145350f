//! A line to PostgreSQL that can be cut, or frozen, at the worst moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    /// The next answer to a COMMIT is swallowed, and its connection cut.
    is_armed: AtomicBool,
    cuts: AtomicUsize,
    /// Bytes pass, are held back, or the line is dead.
    line: watch::Sender<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Open,
    Frozen,
    Dead,
}

impl Proxy {
    /// A proxy before the server of this URL.
    pub(super) async fn before(url: &str) -> Proxy {
        let server: PgConnectOptions = url.parse().unwrap();
        let target = format!("{}:{}", server.get_host(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            is_armed: AtomicBool::new(false),
            cuts: AtomicUsize::new(0),
            line: watch::Sender::new(Line::Open),
        });
        let user = server.get_username();
        let database = server.get_database().unwrap();
        let url = format!("postgres://{user}@{address}/{database}?sslmode=disable");
        tokio::spawn(accept(listener, target, state.clone()));
        Proxy { url, state }
    }

    /// Swallows the next answer to a COMMIT and cuts its connection.
    pub(super) fn cut_next_commit(&self) {
        self.state.is_armed.store(true, Ordering::SeqCst);
    }

    pub(super) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }

    pub(super) fn set_line(&self, line: Line) {
        self.state.line.send_replace(line);
    }
}

async fn accept(listener: TcpListener, target: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (target, state) = (target.clone(), state.clone());
        tokio::spawn(async move {
            if *state.line.borrow() == Line::Dead {
                return;
            }
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            let mut line = state.line.subscribe();
            tokio::select! {
                () = pass(client, server, &state) => {}
                _ = line.wait_for(|line| *line == Line::Dead) => {}
            }
        });
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            thaw(state).await;
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            thaw(state).await;
            let is_commit = bytes[..count]
                .windows(COMMITTED.len())
                .any(|window| window == COMMITTED);
            if is_commit && state.is_armed.swap(false, Ordering::SeqCst) {
                state.cuts.fetch_add(1, Ordering::SeqCst);
                return;
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

async fn thaw(state: &State) {
    let mut line = state.line.subscribe();
    // The sender lives as long as the state.
    let _ = line.wait_for(|line| *line != Line::Frozen).await;
}

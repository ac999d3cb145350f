//! A minimal hub: rooms in a map, a queue for each socket, frames that are shared and written together. No actors, no
//! sessions, no seats, no history, no limits, no database. Its deliveries per second of processor time are the most
//! that this WebSocket library can do on this runtime; the daemon is compared with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// The same as in the daemon.
const BACKLOG: u32 = 4096;
const READ_BYTES: usize = 512;
const WRITE_BYTES: usize = 16 * 1024;
const QUEUE_MAX: usize = 512;

/// The frames that wait to be written to one socket.
type Queue = mpsc::Sender<Utf8Bytes>;

#[derive(Default)]
struct Rooms {
    members: DashMap<String, HashMap<u64, Queue>>,
    next: AtomicU64,
}

#[derive(Deserialize)]
struct Command<'a> {
    #[serde(default)]
    id: u32,
    #[serde(borrow)]
    publish: Option<Publish<'a>>,
    subscribe: Option<Subscribe<'a>>,
    connect: Option<&'a RawValue>,
    rpc: Option<Rpc>,
}

#[derive(Deserialize)]
struct Publish<'a> {
    channel: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Subscribe<'a> {
    channel: &'a str,
}

#[derive(Deserialize)]
struct Rpc {
    #[serde(default)]
    data: RpcData,
}

#[derive(Default, Deserialize)]
struct RpcData {
    #[serde(default)]
    room: String,
}

/// Prints its address on standard output, then serves until it is killed.
pub(crate) async fn serve() {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = ([127, 0, 0, 1], 0).into();
    socket.bind(any).expect("a free port");
    let listener: TcpListener = socket.listen(BACKLOG).expect("it is bound");
    println!("{}", listener.local_addr().expect("it is bound"));
    let rooms = Arc::new(Rooms::default());
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let rooms = Arc::clone(&rooms);
            tokio::spawn(async move {
                // A socket that closes or fails is not an error here.
                let _ = rooms.converse(stream).await;
            });
        }
    }
}

impl Rooms {
    async fn converse(&self, stream: TcpStream) -> Result<(), Error> {
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES);
        let socket = accept_async_with_config(stream, Some(config)).await?;
        let (mut sink, mut frames) = socket.split();
        let (queue, mut waiting) = mpsc::channel(QUEUE_MAX);
        let me = self.next.fetch_add(1, Ordering::Relaxed);
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.take(me, &text, &queue),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return self.part(me, error),
                    None => return self.part(me, Error::ConnectionClosed),
                },
                _ = waiting.recv_many(&mut gathered, QUEUE_MAX) => {
                    for frame in gathered.drain(..) {
                        sink.feed(Message::Text(frame)).await?;
                    }
                    sink.flush().await?;
                }
            }
        }
    }

    fn take(&self, me: u64, text: &str, queue: &Queue) {
        for line in text.split('\n').filter(|line| *line != "{}") {
            let Ok(command) = serde_json::from_str::<Command>(line) else {
                continue;
            };
            let reply = self.carry_out(me, &command, queue);
            // A full queue loses frames; the benchmark notices.
            let _ = queue.try_send(reply.into());
        }
    }

    fn carry_out(&self, me: u64, command: &Command<'_>, queue: &Queue) -> String {
        let id = command.id;
        if let Some(publish) = &command.publish {
            self.spread(publish.channel, publish.data.get());
            return format!(r#"{{"id":{id},"publish":{{}}}}"#);
        }
        if let Some(subscribe) = &command.subscribe {
            let mut members = self
                .members
                .entry(subscribe.channel.to_owned())
                .or_default();
            members.insert(me, queue.clone());
            return format!(r#"{{"id":{id},"subscribe":{{}}}}"#);
        }
        if let Some(rpc) = &command.rpc {
            let code = match rpc.data.room.as_str() {
                "" => format!("R{me}"),
                code => code.to_owned(),
            };
            return format!(
                r#"{{"id":{id},"rpc":{{"data":{{"room":{{"code":"{code}","channel":"bench:{code}"}},"seat":{{"seat":0}}}}}}}}"#
            );
        }
        debug_assert!(command.connect.is_some());
        format!(
            r#"{{"id":{id},"connect":{{"client":"{me}","version":"bare","data":{{"session":{{"token":"none"}}}},"ping":25,"pong":true}}}}"#
        )
    }

    fn spread(&self, channel: &str, data: &str) {
        let push = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":{data}}}}}}}"#);
        let frame = Utf8Bytes::from(push);
        if let Some(members) = self.members.get(channel) {
            for queue in members.values() {
                let _ = queue.try_send(frame.clone());
            }
        }
    }

    fn part(&self, me: u64, error: Error) -> Result<(), Error> {
        self.members.retain(|_, members| {
            members.remove(&me);
            !members.is_empty()
        });
        Err(error)
    }
}

//! A raw WebSocket client: the Centrifuge protocol, with nothing hidden and no reconnect. What it says and hears is
//! JSON for the test, in whichever encoding it travels.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use holdfast::wire::Encoding;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{PATIENCE, protobuf};

/// The wait before a client that was refused for a moment connects again, about as the SDKs have it.
const RETRY_DELAY: Duration = Duration::from_millis(500);

type Writer = SplitSink<WebSocketStream<TcpStream>, Message>;

/// One socket at the daemon. Its pings are answered for as long as it lives.
pub(crate) struct Client {
    encoding: Encoding,
    writer: Arc<Mutex<Writer>>,
    heard: watch::Receiver<Heard>,
    reader: JoinHandle<()>,
    is_mute: Arc<AtomicBool>,
    last_id: u32,
    /// Publications that the test has been handed, for each channel.
    taken: BTreeMap<String, usize>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Error { code: u64, message: String },
    Closed { code: u16, reason: String },
}

/// Everything a client has been told.
#[derive(Debug, Default)]
struct Heard {
    replies: BTreeMap<u64, Value>,
    /// All frames but pings, in order of arrival.
    order: Vec<Value>,
    publications: BTreeMap<String, Vec<Value>>,
    /// How the socket ended: 1006 if nobody said why.
    closed: Option<(u16, String)>,
}

impl Client {
    /// Opens a socket and says nothing.
    pub(crate) async fn dial(address: SocketAddr) -> Client {
        Client::try_dial(address)
            .await
            .unwrap_or_else(|error| panic!("{address} takes no socket: {error}"))
    }

    /// Opens a socket that speaks Protobuf, and says nothing.
    pub(crate) async fn dial_as(address: SocketAddr, encoding: Encoding) -> Client {
        let dialled = Client::try_dial_as(address, encoding).await;
        dialled.unwrap_or_else(|error| panic!("{address} takes no socket: {error}"))
    }

    /// Opens a socket at a daemon that may be going down.
    pub(crate) async fn try_dial(address: SocketAddr) -> Result<Client, String> {
        Client::try_dial_as(address, Encoding::Json).await
    }

    /// The same, in either encoding.
    pub(crate) async fn try_dial_as(
        address: SocketAddr,
        encoding: Encoding,
    ) -> Result<Client, String> {
        let open = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| error.to_string())?;
            stream
                .set_nodelay(true)
                .map_err(|error| error.to_string())?;
            let query = match encoding {
                Encoding::Json => "",
                Encoding::Protobuf => "?format=protobuf",
            };
            let url = format!("ws://{address}/connection/websocket{query}");
            let (socket, _) = client_async(url, stream)
                .await
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(socket)
        };
        let socket = timeout(PATIENCE, open)
            .await
            .map_err(|_| format!("no upgrade within {PATIENCE:?}"))??;
        let (writer, reader) = socket.split();
        let writer = Arc::new(Mutex::new(writer));
        let (telling, heard) = watch::channel(Heard::default());
        let is_mute = Arc::new(AtomicBool::new(false));
        let reading = read(reader, Arc::clone(&writer), telling, Arc::clone(&is_mute));
        let reader = tokio::spawn(reading);
        Ok(Client {
            encoding,
            writer,
            heard,
            reader,
            is_mute,
            last_id: 0,
            taken: BTreeMap::new(),
        })
    }

    /// Opens a socket and connects with a session token; returns the client and the connect result. Asks again as the
    /// SDKs do while the hub is too busy to look the session up.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> (Client, Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = Client::dial(address).await;
            match client.connects(token).await {
                Ok(result) => return (client, result),
                Err(refusal) if refusal.is_passing() && Instant::now() < deadline => {
                    eprintln!("connects again after {refusal:?}");
                    sleep(RETRY_DELAY).await;
                }
                Err(refusal) => panic!("not connected: {refusal:?}"),
            }
        }
    }

    pub(crate) async fn connects(&mut self, token: &str) -> Result<Value, Refusal> {
        self.asks("connect", json!({ "token": token })).await
    }

    pub(crate) async fn subscribes(&mut self, channel: &str) -> Result<Value, Refusal> {
        self.asks("subscribe", json!({ "channel": channel })).await
    }

    /// Subscribes and asks for what came after `offset` of the stream called `epoch`.
    pub(crate) async fn recovers(
        &mut self,
        channel: &str,
        epoch: &str,
        offset: u64,
    ) -> Result<Value, Refusal> {
        let body = json!({ "channel": channel, "recover": true, "epoch": epoch, "offset": offset });
        self.asks("subscribe", body).await
    }

    pub(crate) async fn unsubscribes(&mut self, channel: &str) -> Result<Value, Refusal> {
        self.asks("unsubscribe", json!({ "channel": channel }))
            .await
    }

    pub(crate) async fn publishes(&mut self, channel: &str, data: Value) -> Result<Value, Refusal> {
        self.asks("publish", json!({ "channel": channel, "data": data }))
            .await
    }

    /// The `data` of an rpc's answer.
    pub(crate) async fn calls(&mut self, method: &str, data: Value) -> Result<Value, Refusal> {
        let mut result = self
            .asks("rpc", json!({ "method": method, "data": data }))
            .await?;
        Ok(result["data"].take())
    }

    /// Sends one command and waits for its reply: the result, or why there is none.
    pub(crate) async fn asks(&mut self, command: &str, body: Value) -> Result<Value, Refusal> {
        let id = self.says(command, body).await;
        self.reply(id, command).await
    }

    /// Sends one command and returns its number; [`Client::reply`] waits for the reply.
    pub(crate) async fn says(&mut self, command: &str, body: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.sends(frame(self.encoding, &[json!({ "id": id, command: body })]))
            .await;
        u64::from(id)
    }

    /// Sends several commands in one frame and returns their numbers.
    pub(crate) async fn says_in_one_frame(&mut self, commands: &[(&str, Value)]) -> Vec<u64> {
        let mut lines = Vec::new();
        let mut ids = Vec::new();
        for (command, body) in commands {
            self.last_id += 1;
            let id = self.last_id;
            lines.push(json!({ "id": id, *command: body }));
            ids.push(u64::from(id));
        }
        self.sends(frame(self.encoding, &lines)).await;
        ids
    }

    pub(crate) async fn reply(&mut self, id: u64, command: &str) -> Result<Value, Refusal> {
        self.wait(&format!("the reply to {command} {id}"), |heard| {
            let Some(reply) = heard.replies.get(&id) else {
                let (code, reason) = heard.closed.clone()?;
                return Some(Err(Refusal::Closed { code, reason }));
            };
            Some(match reply.get("error") {
                Some(error) => Err(Refusal::Error {
                    code: error["code"].as_u64().unwrap_or_default(),
                    message: error["message"].as_str().unwrap_or_default().to_owned(),
                }),
                None => Ok(reply
                    .get(command)
                    .unwrap_or_else(|| panic!("{reply} has no result `{command}`"))
                    .clone()),
            })
        })
        .await
    }

    /// Sends a frame as it is. A socket that is closed already has its reason in
    /// [`Client::closed`], so failing to send is no failure here.
    pub(crate) async fn sends(&self, message: Message) {
        let _ = self.writer.lock().await.send(message).await;
    }

    /// The next publication of a channel.
    pub(crate) async fn hears(&mut self, channel: &str) -> Value {
        let index = self.taken.get(channel).copied().unwrap_or(0);
        let publication = self
            .wait(
                &format!("publication {} on {channel}", index + 1),
                |heard| heard.publications.get(channel)?.get(index).cloned(),
            )
            .await;
        self.taken.insert(channel.to_owned(), index + 1);
        publication
    }

    /// The next publication of a channel that a player made, past the hub's own news.
    pub(crate) async fn hears_a_player(&mut self, channel: &str) -> Value {
        loop {
            let publication = self.hears(channel).await;
            if publication["tags"]["from"] != "hub" {
                return publication;
            }
        }
    }

    /// The first push of this sort on a channel, such as `join`, that the test has a use for.
    pub(crate) async fn hears_push(
        &mut self,
        channel: &str,
        sort: &str,
        is_meant: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait(&format!("a {sort} on {channel}"), |heard| {
            let pushes = heard.order.iter().map(|frame| &frame["push"]);
            pushes
                .filter(|push| push["channel"].as_str().unwrap_or_default() == channel)
                .filter_map(|push| push.get(sort))
                .find(|body| is_meant(body))
                .cloned()
        })
        .await
    }

    /// The hub's next news on a channel that has this type, past everything else.
    pub(crate) async fn hears_news(&mut self, channel: &str, kind: &str) -> Value {
        loop {
            let publication = self.hears(channel).await;
            if publication["tags"]["from"] == "hub" && publication["data"]["type"] == kind {
                return publication["data"].clone();
            }
        }
    }

    /// All publications of a channel so far, taken or not.
    pub(crate) fn heard_on(&self, channel: &str) -> Vec<Value> {
        let heard = self.heard.borrow();
        heard.publications.get(channel).cloned().unwrap_or_default()
    }

    /// All frames so far, in the order in which they came.
    pub(crate) fn heard_in_order(&self) -> Vec<Value> {
        self.heard.borrow().order.clone()
    }

    /// The code and reason with which the daemon closes this socket.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        self.closed_after("all that").await
    }

    /// The same, for one cause of several.
    pub(crate) async fn closed_after(&mut self, cause: &str) -> (u16, String) {
        let what = format!("the close after {cause}");
        self.wait(&what, |heard| heard.closed.clone()).await
    }

    pub(crate) fn is_open(&self) -> bool {
        self.heard.borrow().closed.is_none()
    }

    /// Leaves the daemon's pings without an answer.
    pub(crate) fn stops_answering_pings(&self) {
        self.is_mute.store(true, Ordering::Relaxed);
    }

    /// Takes nothing from the socket any more, and keeps it open.
    pub(crate) fn stops_reading(&self) {
        self.reader.abort();
    }

    /// Goes away as a lost line does: no goodbye in the protocol.
    pub(crate) fn drops_the_line(self) {
        drop(self);
    }

    async fn wait<T>(&mut self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> T {
        let found = timeout(PATIENCE, self.heard.wait_for(|heard| find(heard).is_some())).await;
        if let Ok(Ok(heard)) = &found
            && let Some(value) = find(heard)
        {
            return value;
        }
        drop(found);
        panic!(
            "{what} did not come within {PATIENCE:?}; heard was {:?}",
            *self.heard.borrow()
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Refusal {
    /// Whether the hub says that it is too busy at this moment.
    fn is_passing(&self) -> bool {
        matches!(self, Refusal::Error { code: 100, .. })
    }

    pub(crate) fn error(code: u64, message: &str) -> Refusal {
        Refusal::Error {
            code,
            message: message.to_owned(),
        }
    }

    /// The number of the error, or of the close.
    pub(crate) fn code(&self) -> u64 {
        match self {
            Refusal::Error { code, .. } => *code,
            Refusal::Closed { code, .. } => u64::from(*code),
        }
    }
}

/// Commands as a frame of an encoding.
pub(crate) fn frame(encoding: Encoding, commands: &[Value]) -> Message {
    match encoding {
        Encoding::Json => {
            let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
            Message::text(lines.join("\n"))
        }
        Encoding::Protobuf => {
            let messages = commands.iter().map(protobuf::command);
            Message::binary(messages.collect::<Vec<_>>().concat())
        }
    }
}

async fn read(
    mut reader: SplitStream<WebSocketStream<TcpStream>>,
    writer: Arc<Mutex<Writer>>,
    heard: watch::Sender<Heard>,
    is_mute: Arc<AtomicBool>,
) {
    let mut closed = (1006, "the line was lost".to_owned());
    while let Some(Ok(message)) = reader.next().await {
        match message {
            Message::Text(text) => {
                for line in text.lines() {
                    if line == "{}" && is_mute.load(Ordering::Relaxed) {
                        continue;
                    }
                    if line == "{}" {
                        let pong = Message::text("{}");
                        // A lost line ends the loop by itself.
                        let _ = writer.lock().await.send(pong).await;
                        continue;
                    }
                    let frame = serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("the daemon sent `{line}`: {error}"));
                    heard.send_modify(|heard| heard.take(frame));
                }
            }
            Message::Close(Some(frame)) => {
                closed = (frame.code.into(), frame.reason.to_string());
            }
            Message::Close(None) => closed = (1005, String::new()),
            Message::Binary(frame) => {
                for reply in protobuf::replies(&frame) {
                    if reply == json!({}) && is_mute.load(Ordering::Relaxed) {
                        continue;
                    }
                    if reply == json!({}) {
                        // As above.
                        let _ = writer.lock().await.send(Message::binary(vec![0])).await;
                        continue;
                    }
                    heard.send_modify(|heard| heard.take(reply));
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    heard.send_modify(|heard| heard.closed = Some(closed));
}

impl Heard {
    fn take(&mut self, frame: Value) {
        self.order.push(frame.clone());
        if let Some(id) = frame["id"].as_u64() {
            let earlier = self.replies.insert(id, frame);
            assert!(earlier.is_none(), "command {id} was answered twice");
            return;
        }
        let push = &frame["push"];
        if let (Some(channel), Some(publication)) = (push["channel"].as_str(), push.get("pub")) {
            let publications = self.publications.entry(channel.to_owned());
            publications.or_default().push(publication.clone());
        }
    }
}

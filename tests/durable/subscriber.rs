//! Somebody who listens to one room, comes back whenever the line is lost, and lets no offset pass unseen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use holdfast::wire::Encoding;
use holdfast::wire::protobuf as proto;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::PATIENCE;

/// The wait before a line that is lost is made again: much less than what a room keeps.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What was said at each place of a room's streams, as whoever heard it first heard it.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<BTreeMap<(String, u64), String>>>);

impl Record {
    /// Everybody hears the same at the same place.
    fn compare(&self, epoch: &str, offset: u64, data: &str) {
        let mut record = self.0.lock();
        let place = (epoch.to_owned(), offset);
        let first = record.entry(place).or_insert_with(|| data.to_owned());
        assert_eq!(first, data, "offset {offset} of {epoch} has two contents");
    }

    /// All contents up to an end, in order.
    pub(super) fn until(&self, end: &Place) -> Vec<(u64, String)> {
        let record = self.0.lock();
        let places = record.iter();
        let places =
            places.filter(|((epoch, offset), _)| *epoch == end.epoch && *offset <= end.offset);
        places
            .map(|((_, offset), data)| (*offset, data.clone()))
            .collect()
    }
}

/// A place in a stream: everything up to this offset, of this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pub(super) channel: String,
    pub(super) encoding: Encoding,
    /// What comes after this place is heard.
    pub(super) begin: Place,
    pub(super) record: Record,
    /// Set once nothing more will be said.
    pub(super) end: watch::Receiver<Option<Place>>,
}

/// How it went.
#[derive(Debug, Default, Clone)]
pub(super) struct Story {
    pub(super) heard: u64,
    pub(super) lines: u64,
    pub(super) recovered: u64,
    /// Publications that came with a subscribe reply.
    pub(super) made_up: u64,
    pub(super) not_recovered: u64,
    epoch: String,
    offset: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    id: u32,
    subscribe: Option<Subscribed>,
    push: Option<Push>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subscribed {
    epoch: String,
    offset: u64,
    was_recovering: bool,
    recovered: bool,
    publications: Vec<Publication>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Push {
    #[serde(rename = "pub")]
    publication: Option<Publication>,
}

#[derive(Debug, Deserialize)]
struct Publication {
    offset: u64,
    data: Box<RawValue>,
}

/// The replies of a frame, in either encoding; none of them says anything in a ping.
fn replies(message: &Message) -> Option<Vec<Reply>> {
    match message {
        Message::Text(text) => {
            let lines = text.lines();
            let replies = lines.map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
            });
            Some(replies.collect())
        }
        Message::Binary(frame) => {
            let messages = proto::messages::<proto::Reply>(frame);
            Some(messages.map(|reply| reply.unwrap().into()).collect())
        }
        Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
    }
}

impl From<proto::Reply> for Reply {
    fn from(reply: proto::Reply) -> Reply {
        Reply {
            id: reply.id,
            subscribe: reply.subscribe.map(|result| Subscribed {
                epoch: result.epoch,
                offset: result.offset,
                was_recovering: result.was_recovering,
                recovered: result.recovered,
                publications: result.publications.into_iter().map(Into::into).collect(),
            }),
            push: reply.push.map(|push| Push {
                publication: push.r#pub.map(Into::into),
            }),
            error: reply.error.map(|error| error.message.into()),
        }
    }
}

impl From<proto::Publication> for Publication {
    fn from(publication: proto::Publication) -> Publication {
        let data = String::from_utf8(publication.data.into()).unwrap();
        Publication {
            offset: publication.offset,
            data: RawValue::from_string(data).unwrap(),
        }
    }
}

impl Subscriber {
    /// Listens until everything up to the end was heard.
    pub(super) async fn listen(self) -> Story {
        let mut story = Story {
            epoch: self.begin.epoch.clone(),
            offset: self.begin.offset,
            ..Story::default()
        };
        while !self.is_over(&story) {
            story.lines += 1;
            // However the line ended: the next one goes on where it did.
            let _ = self.one_line(&mut story).await;
            sleep(AGAIN_AFTER).await;
        }
        story
    }

    fn is_over(&self, story: &Story) -> bool {
        let end = self.end.borrow();
        end.as_ref()
            .is_some_and(|end| end.epoch == story.epoch && end.offset <= story.offset)
    }

    /// None when the line is lost.
    async fn one_line(&self, story: &mut Story) -> Option<()> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let query = match self.encoding {
            Encoding::Json => "",
            Encoding::Protobuf => "?format=protobuf",
        };
        let url = format!("ws://{}/connection/websocket{query}", self.address);
        let (mut socket, _) = client_async(url, stream).await.ok()?;
        socket.send(self.first_words(story)).await.ok()?;
        let mut is_subscribed = false;
        let mut end = self.end.clone();
        loop {
            if self.is_over(story) {
                return Some(());
            }
            let next = timeout(PATIENCE, async {
                tokio::select! {
                    message = socket.next() => Some(message),
                    changed = end.changed() => {
                        // Gone only when the test has failed.
                        changed.ok()?;
                        None
                    }
                }
            });
            let Some(message) = next.await.expect("something is said all the time") else {
                continue;
            };
            for reply in replies(&message?.ok()?)? {
                let is_ping = reply.id == 0 && reply.push.is_none();
                if is_ping {
                    let pong = match self.encoding {
                        Encoding::Json => Message::text("{}"),
                        Encoding::Protobuf => Message::binary(vec![0]),
                    };
                    socket.send(pong).await.ok()?;
                    continue;
                }
                story.take(reply, &mut is_subscribed, &self.record)?;
            }
        }
    }

    /// Connects, and subscribes where the last line ended.
    fn first_words(&self, story: &Story) -> Message {
        let (token, channel) = (self.token.clone(), self.channel.clone());
        let (epoch, offset) = (story.epoch.clone(), story.offset);
        let recover = !epoch.is_empty();
        if self.encoding == Encoding::Json {
            let connect = json!({ "id": 1, "connect": { "token": token } });
            let body = json!({
                "channel": channel,
                "recover": recover,
                "epoch": epoch,
                "offset": offset,
            });
            let subscribe = json!({ "id": 2, "subscribe": body });
            return Message::text(format!("{connect}\n{subscribe}"));
        }
        let connect = proto::Command {
            id: 1,
            connect: Some(proto::ConnectRequest {
                token,
                ..proto::ConnectRequest::default()
            }),
            ..proto::Command::default()
        };
        let subscribe = proto::Command {
            id: 2,
            subscribe: Some(proto::SubscribeRequest {
                channel,
                recover,
                epoch,
                offset,
                ..proto::SubscribeRequest::default()
            }),
            ..proto::Command::default()
        };
        let commands = [connect, subscribe];
        let frames: Vec<_> = commands.iter().map(proto::frame).collect();
        Message::binary(frames.concat())
    }
}

impl Story {
    fn take(&mut self, reply: Reply, is_subscribed: &mut bool, record: &Record) -> Option<()> {
        if reply.error.is_some() {
            // The hub is busy or going down; it is asked again.
            return None;
        }
        if let Some(subscribed) = reply.subscribe {
            assert_eq!(reply.id, 2);
            self.subscribed(subscribed, record);
            *is_subscribed = true;
        }
        if let Some(push) = reply.push {
            // Anything else is an unsubscribe: the room has failed, and is subscribed to anew.
            let publication = push.publication?;
            assert!(*is_subscribed, "a push came before the subscribe reply");
            self.hear(&publication, record);
        }
        Some(())
    }

    fn subscribed(&mut self, subscribed: Subscribed, record: &Record) {
        let is_return = !self.epoch.is_empty();
        assert_eq!(subscribed.was_recovering, is_return, "{subscribed:?}");
        if subscribed.recovered {
            assert!(is_return && subscribed.epoch == self.epoch);
            self.recovered += 1;
            self.made_up += subscribed.publications.len() as u64;
            for publication in &subscribed.publications {
                self.hear(publication, record);
            }
            return;
        }
        assert!(subscribed.publications.is_empty(), "{subscribed:?}");
        self.not_recovered += u64::from(is_return);
        self.epoch = subscribed.epoch;
        self.offset = subscribed.offset;
    }

    fn hear(&mut self, publication: &Publication, record: &Record) {
        let Publication { offset, data } = publication;
        assert_eq!(*offset, self.offset + 1, "offset {offset} is out of order");
        record.compare(&self.epoch, *offset, data.get());
        self.offset = *offset;
        self.heard += 1;
    }
}

//! The few commands that a generator sends, and the messages that it recognizes, in either encoding.
//!
//! Received frames are searched for a mark and not parsed: the generator shares the machine with the hub, and takes
//! its processor time from it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use holdfast_wire::Encoding;
use holdfast_wire::protobuf;

/// The start of each payload. No message of the hub's own contains it.
const MARK: &str = r#"{"q":"#;

/// The hub's ping in JSON, and the pong to it.
const PING: &str = "{}";

/// A command that is sent before the messages begin.
#[derive(Debug, Clone)]
pub(super) enum Ask<'a> {
    /// A connect, as a new guest if there is no token.
    Connect {
        token: Option<&'a str>,
    },
    Subscribe {
        channel: &'a str,
    },
    Rpc {
        method: &'static str,
        data: Value,
    },
}

/// The mark of one message of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Its number among the messages of its room, from 0.
    pub(super) number: u64,
    /// Its scheduled time, in microseconds since the start.
    pub(super) due: u64,
}

/// One of the messages in a received frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Ping,
    /// A message of the benchmark.
    Stamp(Stamp),
    /// The reply to a command that failed.
    Refused(String),
    /// The reply to a command that succeeded, or a publication of the hub's own.
    Other,
}

/// A reply to an [`Ask`].
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: u32,
    /// The `data` of the result, or the code and message of the error.
    pub(super) outcome: Result<Value, (u64, String)>,
}

impl Ask<'_> {
    /// Returns the name of the command in the protocol, or that of the called method.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Ask::Connect { .. } => "connect",
            Ask::Subscribe { .. } => "subscribe",
            Ask::Rpc { method, .. } => method,
        }
    }

    pub(super) fn command(&self, encoding: Encoding, id: u32) -> Message {
        match encoding {
            Encoding::Json => {
                let (name, body) = match self {
                    Ask::Connect { token: None } => ("connect", json!({})),
                    Ask::Connect { token } => ("connect", json!({ "token": token })),
                    Ask::Subscribe { channel } => ("subscribe", json!({ "channel": channel })),
                    Ask::Rpc { method, data } => ("rpc", json!({ "method": method, "data": data })),
                };
                Message::text(json!({ "id": id, name: body }).to_string())
            }
            Encoding::Protobuf => {
                let mut command = protobuf::Command {
                    id,
                    ..protobuf::Command::default()
                };
                match self {
                    Ask::Connect { token } => {
                        command.connect = Some(protobuf::ConnectRequest {
                            token: token.unwrap_or_default().to_owned(),
                            ..protobuf::ConnectRequest::default()
                        });
                    }
                    Ask::Subscribe { channel } => {
                        command.subscribe = Some(protobuf::SubscribeRequest {
                            channel: (*channel).to_owned(),
                            ..protobuf::SubscribeRequest::default()
                        });
                    }
                    Ask::Rpc { method, data } => {
                        command.rpc = Some(protobuf::RpcRequest {
                            data: data.to_string().into(),
                            method: (*method).to_owned(),
                        });
                    }
                }
                Message::binary(protobuf::frame(&command))
            }
        }
    }
}

/// Returns the answer to a ping.
pub(super) fn pong(encoding: Encoding) -> Message {
    match encoding {
        Encoding::Json => Message::text(PING),
        Encoding::Protobuf => Message::binary(protobuf::frame(&protobuf::Command::default())),
    }
}

/// Returns the command that publishes a stamp in a payload of `bytes` bytes.
pub(super) fn publish(
    encoding: Encoding,
    id: u32,
    channel: &str,
    stamp: Stamp,
    bytes: usize,
) -> Message {
    match encoding {
        Encoding::Json => {
            let mut text = String::with_capacity(bytes + channel.len() + 64);
            let _ = write!(
                text,
                r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"#
            );
            write_payload(&mut text, stamp, bytes);
            text.push_str("}}");
            Message::text(text)
        }
        Encoding::Protobuf => {
            let mut data = String::with_capacity(bytes);
            write_payload(&mut data, stamp, bytes);
            let command = protobuf::Command {
                id,
                publish: Some(protobuf::PublishRequest {
                    channel: channel.to_owned(),
                    data: data.into(),
                }),
                ..protobuf::Command::default()
            };
            Message::binary(protobuf::frame(&command))
        }
    }
}

fn write_payload(text: &mut String, stamp: Stamp, bytes: usize) {
    let start = text.len();
    let Stamp { number, due } = stamp;
    let _ = write!(text, r#"{MARK}{number},"t":{due},"p":""#);
    let end = r#""}"#;
    let filler = bytes.saturating_sub(text.len() - start + end.len());
    text.extend(std::iter::repeat_n('x', filler));
    text.push_str(end);
}

/// Recognizes all messages in a frame.
pub(super) fn hear(frame: &Message) -> Vec<Heard> {
    match frame {
        Message::Text(text) => text.as_str().split('\n').map(hear_line).collect(),
        Message::Binary(bytes) => parts(bytes).map(hear_part).collect(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Vec::new(),
    }
}

/// Returns the replies in a frame; pushes and pings are left out.
pub(super) fn replies(frame: &Message) -> Vec<Reply> {
    match frame {
        Message::Text(text) => text.as_str().split('\n').filter_map(json_reply).collect(),
        Message::Binary(bytes) => protobuf::messages::<protobuf::Reply>(bytes)
            .filter_map(|reply| protobuf_reply(reply.ok()?))
            .collect(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Vec::new(),
    }
}

fn json_reply(line: &str) -> Option<Reply> {
    let mut reply: Value = serde_json::from_str(line).ok()?;
    let id = reply["id"].as_u64()?;
    let error = &reply["error"];
    let outcome = match error["code"].as_u64() {
        Some(code) => Err((
            code,
            error["message"].as_str().unwrap_or_default().to_owned(),
        )),
        None => {
            let results = ["connect", "subscribe", "rpc"];
            let result = results.into_iter().find(|name| reply[name].is_object())?;
            Ok(reply[result]["data"].take())
        }
    };
    Some(Reply {
        id: id.try_into().ok()?,
        outcome,
    })
}

fn protobuf_reply(reply: protobuf::Reply) -> Option<Reply> {
    let data = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
    let outcome = match (reply.error, reply.connect, reply.rpc) {
        (Some(error), _, _) => Err((error.code.into(), error.message)),
        (None, Some(connect), _) => Ok(data(&connect.data)),
        (None, None, Some(rpc)) => Ok(data(&rpc.data)),
        (None, None, None) => Ok(Value::Null),
    };
    (reply.id > 0).then_some(Reply {
        id: reply.id,
        outcome,
    })
}

fn hear_line(line: &str) -> Heard {
    if line == PING {
        return Heard::Ping;
    }
    if line.starts_with(r#"{"push""#) {
        let payload = line.split_once(MARK).map(|(_, rest)| rest);
        return payload.and_then(stamp).map_or(Heard::Other, Heard::Stamp);
    }
    if line.contains(r#""error":"#) {
        return Heard::Refused(line.to_owned());
    }
    Heard::Other
}

/// Splits a Protobuf frame into its messages, undecoded.
fn parts(mut frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = prost::decode_length_delimiter(&mut frame).ok()?;
        let (part, rest) = frame.split_at_checked(length)?;
        frame = rest;
        Some(part)
    })
}

fn hear_part(part: &[u8]) -> Heard {
    if part.is_empty() {
        return Heard::Ping;
    }
    let mark = MARK.as_bytes();
    if let Some(at) = part.windows(mark.len()).position(|bytes| bytes == mark) {
        let text = part[at + mark.len()..].utf8_chunks().next();
        let stamp = text.and_then(|chunk| stamp(chunk.valid()));
        return stamp.map_or(Heard::Other, Heard::Stamp);
    }
    let reply: Result<protobuf::Reply, _> = prost::Message::decode(part);
    match reply {
        Ok(reply) => match reply.error {
            Some(error) => Heard::Refused(format!("{} {}", error.code, error.message)),
            None => Heard::Other,
        },
        Err(error) => Heard::Refused(error.to_string()),
    }
}

/// Parses the text after the mark.
fn stamp(rest: &str) -> Option<Stamp> {
    let (number, rest) = rest.split_once(r#","t":"#)?;
    let (due, _) = rest.split_once(',')?;
    Some(Stamp {
        number: number.parse().ok()?,
        due: due.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_wire::{Publication, Push, Request, push};

    const STAMP: Stamp = Stamp {
        number: 12,
        due: 345_678,
    };

    const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

    fn frame(encoding: Encoding, bytes: &[u8]) -> Message {
        match encoding {
            Encoding::Json => Message::text(std::str::from_utf8(bytes).unwrap()),
            Encoding::Protobuf => Message::binary(bytes.to_vec()),
        }
    }

    #[test]
    fn the_hub_reads_a_payload_of_the_bytes_that_were_asked_for() {
        for encoding in ENCODINGS {
            let said = publish(encoding, 7, "table:K7QX2P", STAMP, 64).into_data();
            let commands = encoding.decode(&said).unwrap();
            assert_eq!(commands[0].id, 7);
            let Request::Publish { channel, data } = &commands[0].request else {
                panic!("{commands:?}");
            };
            assert_eq!(channel, "table:K7QX2P");
            assert_eq!(data.len(), 64);
            serde_json::from_slice::<Value>(data).unwrap();
        }
    }

    #[test]
    fn a_stamp_is_found_in_what_the_hub_pushes_and_nowhere_else() {
        for encoding in ENCODINGS {
            let mut payload = String::new();
            write_payload(&mut payload, STAMP, 64);
            for (data, expected) in [
                (payload, Heard::Stamp(STAMP)),
                (r#"{"type":"seat.held"}"#.to_owned(), Heard::Other),
            ] {
                let publication = Publication {
                    offset: 3,
                    data: data.into(),
                    info: None,
                    tags: None,
                    time: holdfast_wire::time::HubTime(7),
                };
                let pushed = push(encoding, "a:b", &Push::Publication(&publication));
                assert_eq!(hear(&frame(encoding, &pushed)), [expected]);
            }
            assert_eq!(hear(&frame(encoding, &encoding.ping())), [Heard::Ping]);
            assert_eq!(hear(&pong(encoding)), [Heard::Ping]);
        }
    }

    #[test]
    fn replies_good_and_bad_are_told_apart() {
        use holdfast_wire::{ErrorCode, Failure, PublishResult, RpcResult, failure, result};
        for encoding in ENCODINGS {
            let bad = failure(encoding, 3, &Failure::from(ErrorCode::PermissionDenied));
            let bad = frame(encoding, &bad);
            assert!(matches!(hear(&bad)[..], [Heard::Refused(_)]));
            let refused = replies(&bad).pop().unwrap();
            assert_eq!(refused.outcome, Err((103, "permission denied".to_owned())));

            let good = frame(encoding, &result(encoding, 4, &PublishResult {}));
            assert_eq!(hear(&good), [Heard::Other]);

            let data = json!({ "room": "K7QX2P" });
            let rpc = result(encoding, 5, &RpcResult { data: data.clone() });
            let reply = replies(&frame(encoding, &rpc)).pop().unwrap();
            assert_eq!((reply.id, reply.outcome), (5, Ok(data)));
        }
    }
}

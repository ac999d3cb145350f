//! What a client may ask, and how it is read from a JSON frame.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Commands in one frame. A client library sends its connect and all its subscribes in one frame,
/// and a connection has at most a few hundred channels; the message size bounds it anyway.
pub const COMMANDS_PER_FRAME_MAX: usize = 1024;

/// One command, in the order of its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Echoed in the reply. 0 only for [`Request::Send`] and [`Request::Pong`].
    pub id: u32,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Connect(ConnectRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe { channel: String },
    Publish { channel: String, data: Bytes },
    Presence { channel: String },
    PresenceStats { channel: String },
    History(HistoryRequest),
    Ping,
    Send,
    Rpc { method: String, data: Option<Bytes> },
    Refresh,
    SubRefresh,
    Pong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    pub token: String,
    pub data: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    pub channel: String,
    /// Where the client stands, if it wants what it missed.
    pub recover: Option<Position>,
    /// Answer error 112 instead of subscribing when the position cannot be recovered.
    pub is_recovery_required: bool,
}

/// A place in a stream. An empty epoch means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRequest {
    pub channel: String,
    /// 0: only the position. Negative: all, up to the hub's limit.
    pub limit: i32,
    pub since: Option<Position>,
    pub is_reverse: bool,
}

/// Why a frame could not be read. The connection ends with 3501.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame is empty")]
    Empty,
    #[error("the frame is not a sequence of JSON commands: {0}")]
    Malformed(String),
    #[error("a frame has at most {COMMANDS_PER_FRAME_MAX} commands")]
    TooMany,
    #[error("a command other than send and pong has an id above 0")]
    NoId,
    #[error("a command names no method")]
    NoMethod,
}

/// Reads all commands of a JSON frame.
pub fn decode_json(frame: &[u8]) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    for raw in serde_json::Deserializer::from_slice(frame).into_iter::<RawCommand>() {
        let raw = raw.map_err(|error| FrameError::Malformed(error.to_string()))?;
        if commands.len() == COMMANDS_PER_FRAME_MAX {
            return Err(FrameError::TooMany);
        }
        commands.push(raw.into_command()?);
    }
    if commands.is_empty() {
        return Err(FrameError::Empty);
    }
    Ok(commands)
}

/// A payload on its way out: copied from the read buffer, without raw line feeds, which would end a
/// reply in the middle. In valid JSON they can only be white space.
fn payload(raw: &RawValue) -> Bytes {
    let text = raw.get();
    if text.contains('\n') {
        Bytes::from(text.replace('\n', " "))
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

#[derive(Deserialize)]
struct RawCommand<'a> {
    id: Option<u32>,
    #[serde(borrow)]
    connect: Option<RawConnect<'a>>,
    subscribe: Option<RawSubscribe>,
    unsubscribe: Option<RawChannel>,
    #[serde(borrow)]
    publish: Option<RawPublish<'a>>,
    presence: Option<RawChannel>,
    presence_stats: Option<RawChannel>,
    history: Option<RawHistory>,
    ping: Option<Ignored>,
    send: Option<Ignored>,
    #[serde(borrow)]
    rpc: Option<RawRpc<'a>>,
    refresh: Option<Ignored>,
    sub_refresh: Option<Ignored>,
}

/// An object whose content does not matter here.
#[derive(Deserialize)]
struct Ignored {}

#[derive(Deserialize)]
struct RawConnect<'a> {
    token: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSubscribe {
    channel: Option<String>,
    recover: Option<bool>,
    epoch: Option<String>,
    offset: Option<u64>,
    flag: Option<i64>,
}

#[derive(Deserialize)]
struct RawChannel {
    channel: Option<String>,
}

#[derive(Deserialize)]
struct RawPublish<'a> {
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawHistory {
    channel: Option<String>,
    limit: Option<i32>,
    since: Option<RawPosition>,
    reverse: Option<bool>,
}

#[derive(Deserialize)]
struct RawPosition {
    offset: Option<u64>,
    epoch: Option<String>,
}

#[derive(Deserialize)]
struct RawRpc<'a> {
    method: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RawCommand<'_> {
    fn into_command(self) -> Result<Command, FrameError> {
        let id = self.id.unwrap_or(0);
        let is_idle = id == 0;
        let request = match self.into_request() {
            Some(Request::Send) => Request::Send,
            None if is_idle => Request::Pong,
            None => return Err(FrameError::NoMethod),
            Some(_) if is_idle => return Err(FrameError::NoId),
            Some(request) => request,
        };
        Ok(Command { id, request })
    }

    /// The first method present wins.
    fn into_request(self) -> Option<Request> {
        let channel = |raw: RawChannel| raw.channel.unwrap_or_default();
        None.or_else(|| self.connect.map(RawConnect::into_request))
            .or_else(|| self.subscribe.map(RawSubscribe::into_request))
            .or_else(|| {
                self.unsubscribe.map(|raw| Request::Unsubscribe {
                    channel: channel(raw),
                })
            })
            .or_else(|| self.publish.map(RawPublish::into_request))
            .or_else(|| {
                self.presence.map(|raw| Request::Presence {
                    channel: channel(raw),
                })
            })
            .or_else(|| {
                self.presence_stats.map(|raw| Request::PresenceStats {
                    channel: channel(raw),
                })
            })
            .or_else(|| self.history.map(RawHistory::into_request))
            .or_else(|| self.ping.map(|Ignored {}| Request::Ping))
            .or_else(|| self.send.map(|Ignored {}| Request::Send))
            .or_else(|| self.rpc.map(RawRpc::into_request))
            .or_else(|| self.refresh.map(|Ignored {}| Request::Refresh))
            .or_else(|| self.sub_refresh.map(|Ignored {}| Request::SubRefresh))
    }
}

impl RawConnect<'_> {
    fn into_request(self) -> Request {
        Request::Connect(ConnectRequest {
            token: self.token.unwrap_or_default(),
            data: self.data.map(payload),
        })
    }
}

/// In `flag`: refuse the subscription with error 112 when it cannot be recovered.
const FLAG_REJECT_UNRECOVERED: i64 = 2;

impl RawSubscribe {
    fn into_request(self) -> Request {
        let position = Position {
            epoch: self.epoch.unwrap_or_default(),
            offset: self.offset.unwrap_or(0),
        };
        Request::Subscribe(SubscribeRequest {
            channel: self.channel.unwrap_or_default(),
            recover: self.recover.unwrap_or(false).then_some(position),
            is_recovery_required: self.flag.unwrap_or(0) & FLAG_REJECT_UNRECOVERED != 0,
        })
    }
}

impl RawPublish<'_> {
    fn into_request(self) -> Request {
        Request::Publish {
            channel: self.channel.unwrap_or_default(),
            data: self
                .data
                .map_or_else(|| Bytes::from_static(b"null"), payload),
        }
    }
}

impl RawHistory {
    fn into_request(self) -> Request {
        Request::History(HistoryRequest {
            channel: self.channel.unwrap_or_default(),
            limit: self.limit.unwrap_or(0),
            since: self.since.map(|raw| Position {
                epoch: raw.epoch.unwrap_or_default(),
                offset: raw.offset.unwrap_or(0),
            }),
            is_reverse: self.reverse.unwrap_or(false),
        })
    }
}

impl RawRpc<'_> {
    fn into_request(self) -> Request {
        Request::Rpc {
            method: self.method.unwrap_or_default(),
            data: self.data.map(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: &str, expected: &[(u32, Request)]) {
        let expected: Vec<Command> = expected
            .iter()
            .cloned()
            .map(|(id, request)| Command { id, request })
            .collect();
        assert_eq!(decode_json(frame.as_bytes()), Ok(expected));
    }

    #[track_caller]
    fn check_refused(frame: &str) -> FrameError {
        decode_json(frame.as_bytes()).unwrap_err()
    }

    #[test]
    fn several_commands_of_a_frame_keep_their_order() {
        check(
            "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"ping\":{}}\n",
            &[
                (
                    1,
                    Request::Connect(ConnectRequest {
                        token: String::new(),
                        data: None,
                    }),
                ),
                (2, Request::Ping),
            ],
        );
    }

    #[test]
    fn zero_values_and_null_count_as_absent() {
        check(
            r#"{"id":3,"subscribe":{"channel":"a:b","recover":false,"epoch":null,"offset":0,"flag":1}}"#,
            &[(
                3,
                Request::Subscribe(SubscribeRequest {
                    channel: "a:b".into(),
                    recover: None,
                    is_recovery_required: false,
                }),
            )],
        );
    }

    #[test]
    fn an_empty_command_is_a_pong() {
        check("{}", &[(0, Request::Pong)]);
    }

    #[test]
    fn a_line_feed_inside_a_payload_does_not_reach_other_players() {
        let data = Bytes::from_static(b"{\"a\": 1}");
        check(
            "{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":{\"a\":\n1}}}",
            &[(
                1,
                Request::Publish {
                    channel: "c".into(),
                    data,
                },
            )],
        );
    }

    #[test]
    fn what_is_no_command_is_refused() {
        assert_eq!(check_refused(""), FrameError::Empty);
        assert_eq!(check_refused(" \n"), FrameError::Empty);
        assert_eq!(check_refused(r#"{"connect":{}}"#), FrameError::NoId);
        assert_eq!(check_refused(r#"{"id":0,"rpc":{}}"#), FrameError::NoId);
        assert_eq!(check_refused(r#"{"id":1}"#), FrameError::NoMethod);
        for frame in [
            "null",
            "[]",
            "{",
            r#"{"id":-1,"ping":{}}"#,
            r#"{"id":4294967296,"ping":{}}"#,
            r#"{"id":1,"subscribe":{"offset":-1}}"#,
            r#"{"id":1,"publish":7}"#,
        ] {
            assert!(
                matches!(check_refused(frame), FrameError::Malformed(_)),
                "{frame}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            // Only that it returns: most byte strings are refused, some few are commands.
            let _ = decode_json(&bytes);
        }
    }
}

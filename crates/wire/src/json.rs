//! Commands from JSON frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::command::{
    COMMANDS_PER_FRAME_MAX, Command, ConnectRequest, FrameError, HistoryRequest, Position, Request,
    SubscribeRequest, null,
};
use crate::api::whole::Whole;

/// Decodes all commands of a JSON frame.
pub(super) fn decode(frame: &[u8]) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    for raw in serde_json::Deserializer::from_slice(frame).into_iter::<RawCommand>() {
        let raw = raw.map_err(|error| FrameError::Malformed(error.to_string()))?;
        if commands.len() == COMMANDS_PER_FRAME_MAX {
            return Err(FrameError::TooMany);
        }
        let id = raw.id.unwrap_or_default().0;
        commands.push(Command::new(id, raw.into_request())?);
    }
    if commands.is_empty() {
        return Err(FrameError::Empty);
    }
    Ok(commands)
}

/// Checks that a payload is JSON, and removes raw line feeds.
///
/// # Errors
/// If it is not JSON.
pub fn one_line(payload: Bytes) -> Result<Bytes, serde_json::Error> {
    let raw: &RawValue = serde_json::from_slice(&payload)?;
    Ok(if raw.get().contains('\n') {
        self::payload(raw)
    } else {
        payload
    })
}

/// Copies a payload out of the read buffer, without raw line feeds, which would split a reply. In valid JSON they can
/// only be white space.
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
    id: Option<Whole<u32>>,
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
    refresh: Option<RawRefresh>,
    sub_refresh: Option<RawSubRefresh>,
}

/// An object whose content is ignored.
#[derive(Deserialize)]
struct Ignored {}

#[derive(Deserialize)]
struct RawConnect<'a> {
    token: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    subs: Option<BTreeMap<String, RawSubscribe>>,
}

#[derive(Deserialize)]
struct RawSubscribe {
    channel: Option<String>,
    token: Option<String>,
    recover: Option<bool>,
    epoch: Option<String>,
    offset: Option<Whole<u64>>,
    delta: Option<String>,
    tf: Option<Ignored>,
    flag: Option<Whole<i64>>,
    r#type: Option<Whole<i32>>,
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
    limit: Option<Whole<i32>>,
    since: Option<RawPosition>,
    reverse: Option<bool>,
}

#[derive(Deserialize)]
struct RawPosition {
    offset: Option<Whole<u64>>,
    epoch: Option<String>,
}

#[derive(Deserialize)]
struct RawRefresh {
    token: Option<String>,
}

#[derive(Deserialize)]
struct RawSubRefresh {
    channel: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct RawRpc<'a> {
    method: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RawCommand<'_> {
    /// Returns the first method that is present.
    fn into_request(self) -> Option<Request> {
        let channel = |raw: RawChannel| raw.channel.unwrap_or_default();
        None.or_else(|| self.connect.map(RawConnect::into_request))
            .or_else(|| {
                let raw = self.subscribe?;
                Some(Request::Subscribe(raw.into_request()))
            })
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
            .or_else(|| {
                let token = self.refresh?.token.unwrap_or_default();
                Some(Request::Refresh { token })
            })
            .or_else(|| {
                let raw = self.sub_refresh?;
                Some(Request::SubRefresh {
                    channel: raw.channel.unwrap_or_default(),
                    token: raw.token.unwrap_or_default(),
                })
            })
    }
}

impl RawConnect<'_> {
    fn into_request(self) -> Request {
        Request::Connect(ConnectRequest {
            token: self.token.unwrap_or_default(),
            data: self.data.map(payload),
            subs: self
                .subs
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(channel, raw)| Some((channel, raw.into_request().recover?)))
                .collect(),
        })
    }
}

impl RawSubscribe {
    fn into_request(self) -> SubscribeRequest {
        let position = Position {
            epoch: self.epoch.unwrap_or_default(),
            offset: self.offset.unwrap_or_default().0,
        };
        SubscribeRequest {
            channel: self.channel.unwrap_or_default(),
            token: self.token.unwrap_or_default(),
            recover: self.recover.unwrap_or(false).then_some(position),
            delta: self.delta.unwrap_or_default(),
            has_filter: self.tf.is_some(),
            flag: self.flag.unwrap_or_default().0,
            sort: self.r#type.unwrap_or_default().0,
        }
    }
}

impl RawPublish<'_> {
    fn into_request(self) -> Request {
        Request::Publish {
            channel: self.channel.unwrap_or_default(),
            data: self.data.map_or_else(null, payload),
        }
    }
}

impl RawHistory {
    fn into_request(self) -> Request {
        Request::History(HistoryRequest {
            channel: self.channel.unwrap_or_default(),
            limit: self.limit.unwrap_or_default().0,
            since: self.since.map(|raw| Position {
                epoch: raw.epoch.unwrap_or_default(),
                offset: raw.offset.unwrap_or_default().0,
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
        assert_eq!(decode(frame.as_bytes()), Ok(expected));
    }

    #[track_caller]
    fn check_refused(frame: &str) -> FrameError {
        decode(frame.as_bytes()).unwrap_err()
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
                        subs: BTreeMap::new(),
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
                    flag: 1,
                    ..SubscribeRequest::to("a:b")
                }),
            )],
        );
    }

    /// Some engines write every number with a fraction, and RFC 8259 has one kind of number.
    #[test]
    fn a_number_with_a_fraction_of_zero_is_the_whole_number() {
        for (whole, with_fraction) in [
            (r#"{"id":1,"ping":{}}"#, r#"{"id":1.0,"ping":{}}"#),
            (
                r#"{"id":2,"subscribe":{"channel":"a:b","recover":true,"offset":3,"flag":1,"type":1}}"#,
                r#"{"id":2.0,"subscribe":{"channel":"a:b","recover":true,"offset":3.0,"flag":1.0,"type":1e0}}"#,
            ),
            (
                r#"{"id":3,"history":{"channel":"a:b","limit":-1,"since":{"offset":7,"epoch":"e"}}}"#,
                r#"{"id":3.0,"history":{"channel":"a:b","limit":-1.0,"since":{"offset":7.0,"epoch":"e"}}}"#,
            ),
            (
                r#"{"id":4,"connect":{"subs":{"a:b":{"recover":true,"offset":5}}}}"#,
                r#"{"id":4.0,"connect":{"subs":{"a:b":{"recover":true,"offset":5.0}}}}"#,
            ),
        ] {
            let read = decode(with_fraction.as_bytes());
            assert_eq!(read, decode(whole.as_bytes()), "{with_fraction}");
            assert!(read.is_ok(), "{read:?}");
        }
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
            r#"{"id":1.5,"ping":{}}"#,
            r#"{"id":1e400,"ping":{}}"#,
            r#"{"id":1,"subscribe":{"offset":3.5}}"#,
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
            // Checks only that it returns: most byte strings are refused, a few are commands.
            let _ = decode(&bytes);
        }
    }
}

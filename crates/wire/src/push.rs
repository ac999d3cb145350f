//! Pushes: messages of the hub that are not replies.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::encoding::{Encoding, Frame};
use super::protobuf;
use super::publication::{ClientInfo, Publication, field};
use super::reply::{SubscribeResult, is_zero};

/// One push. All but [`Push::Message`] and [`Push::Refresh`] belong to a channel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Push<'a> {
    #[serde(rename = "pub")]
    Publication(&'a Publication),
    Join {
        info: &'a ClientInfo,
    },
    Leave {
        info: &'a ClientInfo,
    },
    /// The client is no longer subscribed; from 2500 on it subscribes again at once.
    Unsubscribe {
        code: u32,
        reason: &'static str,
    },
    Message {
        data: &'a RawValue,
    },
    /// The hub has subscribed the client; never contains publications.
    Subscribe(&'a SubscribeResult),
    /// The game's server has changed the connection's expiry.
    Refresh {
        #[serde(skip_serializing_if = "is_zero")]
        expires: bool,
        /// Seconds.
        #[serde(skip_serializing_if = "is_zero")]
        ttl: u32,
    },
}

/// Encodes a push; `channel` is empty if it belongs to none.
pub fn push(encoding: Encoding, channel: &str, push: &Push<'_>) -> Frame {
    match encoding {
        Encoding::Json => json(channel, push),
        Encoding::Protobuf => protobuf::frame(&protobuf::Reply {
            push: Some(protobuf::push(channel, push)),
            ..protobuf::Reply::default()
        }),
    }
}

fn json(channel: &str, push: &Push<'_>) -> Frame {
    let mut out = Vec::with_capacity(capacity(channel, push));
    out.extend_from_slice(b"{\"push\":{");
    if !channel.is_empty() {
        field(&mut out, "\"channel\":", channel);
        out.push(b',');
    }
    if let Push::Publication(publication) = push {
        out.extend_from_slice(b"\"pub\":");
        publication.write_json(&mut out);
    } else {
        // `{"join":{...}}` without its own braces.
        let start = out.len();
        field(&mut out, "", push);
        out.remove(start);
        out.pop();
    }
    out.extend_from_slice(b"}}");
    Bytes::from(out)
}

/// Returns the approximate size of a frame, so that its buffer does not grow: it is encoded once for a whole room.
fn capacity(channel: &str, push: &Push<'_>) -> usize {
    const AROUND: usize = 320;
    match push {
        Push::Publication(publication) => channel.len() + publication.data.len() + AROUND,
        Push::Join { .. }
        | Push::Leave { .. }
        | Push::Unsubscribe { .. }
        | Push::Message { .. }
        | Push::Subscribe(_)
        | Push::Refresh { .. } => AROUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub_tags;
    use crate::time::HubTime;

    #[track_caller]
    fn check(channel: &str, what: &Push<'_>, expected: &str) {
        let frame = push(Encoding::Json, channel, what);
        assert_eq!(std::str::from_utf8(&frame).unwrap(), expected);
    }

    #[test]
    fn the_payload_of_a_publication_travels_as_it_came() {
        let publication = Publication {
            offset: 13,
            data: Bytes::from_static(br#"{"x": 1.50}"#),
            info: None,
            tags: Some(hub_tags()),
            time: HubTime(7),
        };
        check(
            "table:K7QX2P",
            &Push::Publication(&publication),
            r#"{"push":{"channel":"table:K7QX2P","pub":{"data":{"x": 1.50},"offset":13,"tags":{"from":"hub"},"time":7}}}"#,
        );
    }

    #[test]
    fn an_unsubscribe_push_has_code_and_reason() {
        let push = Push::Unsubscribe {
            code: 2500,
            reason: "insufficient state",
        };
        check(
            "a:b",
            &push,
            r#"{"push":{"channel":"a:b","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
        );
    }

    #[test]
    fn what_is_zero_is_left_out_of_a_refresh() {
        let (expires, ttl) = (false, 0);
        let endless = Push::Refresh { expires, ttl };
        check("", &endless, r#"{"push":{"refresh":{}}}"#);
        let (expires, ttl) = (true, 60);
        let ends = Push::Refresh { expires, ttl };
        check(
            "",
            &ends,
            r#"{"push":{"refresh":{"expires":true,"ttl":60}}}"#,
        );
    }

    #[test]
    fn a_message_belongs_to_no_channel() {
        let data = RawValue::from_string("{\"hi\":1}".into()).unwrap();
        check(
            "",
            &Push::Message { data: &data },
            r#"{"push":{"message":{"data":{"hi":1}}}}"#,
        );
    }
}

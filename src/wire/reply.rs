//! What a client is told, and how it is written as JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::failure::Failure;

/// A whole reply, ready for a socket, shared by all who hear it.
pub type Frame = Bytes;

/// Who somebody is, as other members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    pub user: Arc<str>,
    /// The connection's id.
    pub client: Arc<str>,
    pub conn_info: ConnectionInfo,
    /// Where the member sits; absent for spectators.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chan_info: Option<SeatInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    pub name: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatInfo {
    pub seat: u16,
    pub team: Option<Arc<str>>,
}

/// One message of a room's stream.
#[derive(Debug, Clone)]
pub struct Publication {
    /// 0 where the room keeps no history.
    pub offset: u64,
    /// Valid JSON without raw line feeds.
    pub data: Bytes,
    /// The publisher; none for the hub's own news.
    pub info: Option<Arc<ClientInfo>>,
    pub is_from_hub: bool,
}

#[derive(Serialize)]
struct RawPublication<'a> {
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a ClientInfo>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Tags>,
}

/// How the hub marks its own news.
#[derive(Serialize)]
struct Tags {
    from: &'static str,
}

impl Serialize for Publication {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawPublication {
            data: raw(&self.data).map_err(serde::ser::Error::custom)?,
            info: self.info.as_deref(),
            offset: self.offset,
            tags: self.is_from_hub.then_some(Tags { from: "hub" }),
        }
        .serialize(serializer)
    }
}

/// Reads bytes as the JSON text they were when they came in.
fn raw(bytes: &[u8]) -> Result<&RawValue, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[derive(Debug, Serialize)]
pub struct ConnectResult<'a, D: Serialize> {
    pub client: &'a str,
    pub version: &'static str,
    pub data: D,
    /// Whole seconds.
    pub ping: u32,
    pub pong: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct SubscribeResult {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recoverable: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub epoch: Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub positioned: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_recovering: bool,
}

#[derive(Debug, Serialize)]
pub struct PresenceResult {
    pub presence: std::collections::BTreeMap<Arc<str>, Arc<ClientInfo>>,
}

#[derive(Debug, Serialize)]
pub struct PresenceStatsResult {
    pub num_clients: usize,
    pub num_users: usize,
}

#[derive(Debug, Serialize)]
pub struct HistoryResult {
    pub publications: Vec<Publication>,
    pub epoch: Arc<str>,
    pub offset: u64,
}

#[derive(Debug, Serialize)]
pub struct RpcResult<D: Serialize> {
    pub data: D,
}

/// A result without content.
#[derive(Debug, Serialize)]
pub struct Empty {}

/// The frame that asks a client whether it is there.
pub const PING: Frame = Bytes::from_static(b"{}");

/// A reply with a result; `method` names it like its command.
pub fn result<R: Serialize>(id: u32, method: &'static str, result: &R) -> Frame {
    #[derive(Serialize)]
    struct Body<'a, R> {
        id: u32,
        #[serde(flatten)]
        result: Named<'a, R>,
    }
    frame(&Body {
        id,
        result: Named(method, result),
    })
}

/// A reply with an error instead of a result.
pub fn failure(id: u32, failure: &Failure) -> Frame {
    #[derive(Serialize)]
    struct Body<'a> {
        id: u32,
        error: &'a Failure,
    }
    frame(&Body { id, error: failure })
}

/// Carries a publication to a channel's subscribers.
pub fn publication_push(channel: &str, publication: &Publication) -> Frame {
    push(channel, "pub", publication)
}

/// Tells a client that it hears a channel no more; from 2500 on it subscribes again at once.
pub fn unsubscribe_push(channel: &str, code: u32, reason: &'static str) -> Frame {
    #[derive(Serialize)]
    struct Unsubscribe {
        code: u32,
        reason: &'static str,
    }
    push(channel, "unsubscribe", &Unsubscribe { code, reason })
}

fn push<B: Serialize>(channel: &str, name: &'static str, body: &B) -> Frame {
    #[derive(Serialize)]
    struct Push<'a, B> {
        channel: &'a str,
        #[serde(flatten)]
        body: Named<'a, B>,
    }
    #[derive(Serialize)]
    struct Reply<'a, B> {
        push: Push<'a, B>,
    }
    frame(&Reply {
        push: Push {
            channel,
            body: Named(name, body),
        },
    })
}

/// One field whose name is a value.
struct Named<'a, T>(&'static str, &'a T);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, self.1)?;
        map.end()
    }
}

fn frame<T: Serialize>(body: &T) -> Frame {
    serde_json::to_vec(body)
        .expect("replies have text keys only and their payloads are valid JSON")
        .into()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: &Frame, expected: &str) {
        assert_eq!(std::str::from_utf8(frame).unwrap(), expected);
    }

    #[test]
    fn an_empty_result_is_present() {
        check(&result(7, "publish", &Empty {}), r#"{"id":7,"publish":{}}"#);
    }

    #[test]
    fn what_is_zero_is_left_out_of_a_subscribe_result() {
        check(
            &result(2, "subscribe", &SubscribeResult::default()),
            r#"{"id":2,"subscribe":{}}"#,
        );
    }

    #[test]
    fn the_payload_of_a_publication_travels_as_it_came() {
        let publication = Publication {
            offset: 13,
            data: Bytes::from_static(br#"{"x": 1.50}"#),
            info: None,
            is_from_hub: true,
        };
        check(
            &publication_push("table:K7QX2P", &publication),
            r#"{"push":{"channel":"table:K7QX2P","pub":{"data":{"x": 1.50},"offset":13,"tags":{"from":"hub"}}}}"#,
        );
    }

    #[test]
    fn an_unsubscribe_push_has_code_and_reason() {
        check(
            &unsubscribe_push("a:b", 2500, "insufficient state"),
            r#"{"push":{"channel":"a:b","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
        );
    }
}

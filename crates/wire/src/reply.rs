//! Replies: a result or an error for a command.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::encoding::{Encoding, Frame};
use super::failure::Failure;
use super::protobuf;
use super::publication::{ClientInfo, Publication, field};

/// The result of a command, in either encoding.
pub trait CommandResult: Serialize {
    /// Its field in the reply, which is named like the command.
    const FIELD: &'static str;

    /// Puts it into its field of a Protobuf reply.
    fn put(&self, reply: &mut protobuf::Reply);
}

#[derive(Debug, Serialize)]
pub struct ConnectResult<'a, D: Serialize> {
    pub client: &'a str,
    pub version: &'static str,
    /// True if the client has to refresh its connection within `ttl` seconds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: u32,
    pub data: D,
    /// The client's subscriptions that the hub made, by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<Arc<str>, SubscribeResult>,
    /// Whole seconds.
    pub ping: u32,
    pub pong: bool,
    /// Milliseconds since 1970, by the wall clock.
    pub time: i64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct SubscribeResult {
    /// True if the client has to refresh its subscription within `ttl` seconds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: u32,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Arc<RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_recovering: bool,
}

#[derive(Debug, Serialize)]
pub struct UnsubscribeResult {}

#[derive(Debug, Serialize)]
pub struct PublishResult {}

#[derive(Debug, Serialize)]
pub struct PingResult {}

#[derive(Debug, Serialize)]
pub struct PresenceResult {
    pub presence: BTreeMap<Arc<str>, Arc<ClientInfo>>,
}

#[derive(Debug, Serialize)]
pub struct PresenceStatsResult {
    pub num_clients: u32,
    pub num_users: u32,
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

/// The data of an rpc that returns nothing.
#[derive(Debug, Serialize)]
pub struct Empty {}

#[derive(Debug, Serialize)]
pub struct RefreshResult<'a> {
    pub client: &'a str,
    pub version: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: u32,
}

#[derive(Debug, Serialize)]
pub struct SubRefreshResult {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expires: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub ttl: u32,
}

/// Encodes a reply with a result.
pub fn result<R: CommandResult>(encoding: Encoding, id: u32, result: &R) -> Frame {
    match encoding {
        Encoding::Json => json(id, R::FIELD, result),
        Encoding::Protobuf => {
            let mut reply = protobuf::Reply {
                id,
                ..protobuf::Reply::default()
            };
            result.put(&mut reply);
            protobuf::frame(&reply)
        }
    }
}

/// Encodes a reply with an error in place of a result.
pub fn failure(encoding: Encoding, id: u32, failure: &Failure) -> Frame {
    match encoding {
        Encoding::Json => json(id, "error", failure),
        Encoding::Protobuf => protobuf::frame(&protobuf::Reply {
            id,
            error: Some(failure.into()),
            ..protobuf::Reply::default()
        }),
    }
}

fn json<T: Serialize>(id: u32, name: &str, body: &T) -> Frame {
    let mut out = Vec::new();
    field(&mut out, "{\"id\":", &id);
    out.push(b',');
    field(&mut out, "", name);
    field(&mut out, ":", body);
    out.push(b'}');
    out.into()
}

pub(super) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<R: CommandResult>(id: u32, answer: &R, expected: &str) {
        let frame = result(Encoding::Json, id, answer);
        assert_eq!(std::str::from_utf8(&frame).unwrap(), expected);
    }

    #[test]
    fn an_empty_result_is_present() {
        check(7, &PublishResult {}, r#"{"id":7,"publish":{}}"#);
    }

    #[test]
    fn what_is_zero_is_left_out_of_a_subscribe_result() {
        let nothing = SubscribeResult::default();
        check(2, &nothing, r#"{"id":2,"subscribe":{}}"#);
    }

    #[test]
    fn an_error_stands_in_place_of_a_result() {
        let failed = Failure::from(crate::ErrorCode::PermissionDenied);
        let frame = failure(Encoding::Json, 3, &failed);
        let expected = r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#;
        assert_eq!(std::str::from_utf8(&frame).unwrap(), expected);
    }
}

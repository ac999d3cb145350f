//! A result that is encoded once for many replies; only the id of the command differs.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::encoding::{Encoding, Frame};
use super::protobuf;
use super::publication::field;
use super::reply::{CommandResult, PresenceResult};

/// The field number of presence in a Protobuf reply, as in `client.proto`.
const PRESENCE_TAG: u32 = 9;

/// The encoded presence.
#[derive(Debug, Clone)]
pub struct PreparedPresence {
    encoding: Encoding,
    body: Bytes,
}

impl PreparedPresence {
    pub fn new(encoding: Encoding, presence: &PresenceResult) -> PreparedPresence {
        let body = match encoding {
            Encoding::Json => {
                let mut body = Vec::new();
                field(&mut body, "", presence);
                body.into()
            }
            Encoding::Protobuf => {
                let mut reply = protobuf::Reply::default();
                presence.put(&mut reply);
                reply.presence.unwrap_or_default().encode_to_vec().into()
            }
        };
        PreparedPresence { encoding, body }
    }

    /// Returns its size in bytes, without the reply around it.
    pub fn weight(&self) -> usize {
        self.body.len()
    }

    /// Returns the reply to the command `id`.
    pub fn reply(&self, id: u32) -> Frame {
        match self.encoding {
            Encoding::Json => {
                let head = format!("{{\"id\":{id},\"{}\":", PresenceResult::FIELD);
                [head.as_bytes(), &self.body, b"}"].concat().into()
            }
            Encoding::Protobuf => {
                let mut reply = protobuf::Reply {
                    id,
                    ..protobuf::Reply::default()
                }
                .encode_to_vec();
                encode_key(PRESENCE_TAG, WireType::LengthDelimited, &mut reply);
                encode_varint(self.body.len() as u64, &mut reply);
                let mut frame = Vec::with_capacity(reply.len() + self.body.len() + 10);
                encode_varint((reply.len() + self.body.len()) as u64, &mut frame);
                frame.extend_from_slice(&reply);
                frame.extend_from_slice(&self.body);
                frame.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::{ClientInfo, raw_json, result};

    fn presence(members: usize) -> PresenceResult {
        let member = |number: usize| {
            let info = ClientInfo {
                user: format!("u{number}").into(),
                client: format!("c{number}").into(),
                conn_info: Some(raw_json(&"x".repeat(number))),
                chan_info: None,
            };
            (Arc::clone(&info.client), Arc::new(info))
        };
        PresenceResult {
            presence: (0..members).map(member).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn it_is_told_as_if_it_had_been_encoded_for_each_asker() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            for members in [0, 1, 3, 200] {
                let presence = presence(members);
                let prepared = PreparedPresence::new(encoding, &presence);
                for id in [1, 300, u32::MAX] {
                    let frame = prepared.reply(id);
                    assert_eq!(frame, result(encoding, id, &presence), "{members} members");
                    assert!(frame.len() <= prepared.weight() + 40);
                }
            }
        }
    }
}

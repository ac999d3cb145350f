//! JSON and Protobuf of the same thing mean the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::clock::HubTime;
use holdfast::wire::{
    ClientInfo, ConnectResult, Empty, Encoding, Failure, HistoryResult, PingResult, PresenceResult,
    PresenceStatsResult, Publication, PublishResult, Push, RefreshResult, RpcResult,
    SubRefreshResult, SubscribeResult, UnsubscribeResult, failure, push, raw_json, result,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::protobuf;

/// Offsets stay below it: clients count in floating point.
const OFFSET_MAX: u64 = 1 << 53;

fn any_data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_position() -> impl Strategy<Value = Value> {
    ("[a-z0-9]{0,12}", 0..OFFSET_MAX, any::<bool>()).prop_map(
        |(epoch, offset, recover)| json!({ "epoch": epoch, "offset": offset, "recover": recover }),
    )
}

fn any_subscribe() -> impl Strategy<Value = Value> {
    let texts = (".{0,20}", "[a-z.]{0,8}", "(|fossil|x)");
    (texts, any_position(), 0..4_i64, 0..5_i32, any::<bool>()).prop_map(
        |((channel, token, delta), mut body, flag, sort, has_filter)| {
            body["channel"] = channel.into();
            body["token"] = token.into();
            body["delta"] = delta.into();
            body["flag"] = flag.into();
            body["type"] = sort.into();
            if has_filter {
                body["tf"] = json!({});
            }
            body
        },
    )
}

/// A command by its name and body, zero values included.
fn any_command() -> impl Strategy<Value = Value> {
    let subs = prop::collection::btree_map(".{1,8}", any_position(), 0..3);
    let body = prop_oneof![
        ("[a-zA-Z0-9_.]{0,40}", any_data(), subs).prop_map(|(token, data, subs)| {
            (
                "connect",
                json!({ "token": token, "data": data, "subs": subs }),
            )
        }),
        any_subscribe().prop_map(|body| ("subscribe", body)),
        ".{0,20}".prop_map(|channel| ("unsubscribe", json!({ "channel": channel }))),
        (".{0,20}", any_data())
            .prop_map(|(channel, data)| ("publish", json!({ "channel": channel, "data": data }))),
        ".{0,20}".prop_map(|channel| ("presence", json!({ "channel": channel }))),
        ".{0,20}".prop_map(|channel| ("presence_stats", json!({ "channel": channel }))),
        (any_position(), any::<i32>(), any::<bool>()).prop_map(|(since, limit, reverse)| {
            let body =
                json!({ "channel": "c", "limit": limit, "since": since, "reverse": reverse });
            ("history", body)
        }),
        Just(("ping", json!({}))),
        any_data().prop_map(|data| ("send", json!({ "data": data }))),
        (".{0,12}", any_data())
            .prop_map(|(method, data)| ("rpc", json!({ "method": method, "data": data }))),
        "[a-z.]{0,20}".prop_map(|token| ("refresh", json!({ "token": token }))),
        (".{0,9}", "[a-z.]{0,20}").prop_map(|(channel, token)| {
            ("sub_refresh", json!({ "channel": channel, "token": token }))
        }),
    ];
    (any::<u32>(), body).prop_map(|(id, (name, body))| json!({ "id": id, name: body }))
}

fn any_info() -> impl Strategy<Value = ClientInfo> {
    let raw = || prop::option::of(any_data().prop_map(|data| raw_json(&data)));
    (".{0,9}", ".{0,9}", raw(), raw()).prop_map(|(user, client, conn_info, chan_info)| ClientInfo {
        user: user.into(),
        client: client.into(),
        conn_info,
        chan_info,
    })
}

fn any_publication() -> impl Strategy<Value = Publication> {
    let tags = prop::collection::btree_map(".{1,6}", ".{0,6}", 0..3);
    let rest = (0..OFFSET_MAX, 1..OFFSET_MAX as i64);
    (any_data(), prop::option::of(any_info()), tags, rest).prop_map(
        |(data, info, tags, (offset, time))| Publication {
            offset,
            data: Bytes::from(data.to_string()),
            info: info.map(Arc::new),
            tags: (!tags.is_empty()).then(|| Arc::new(tags)),
            time: HubTime(time),
        },
    )
}

/// Both encodings of a frame, as JSON.
fn both(encode: impl Fn(Encoding) -> Bytes) -> (Value, Value) {
    let json = serde_json::from_slice(&encode(Encoding::Json)).unwrap();
    let mut protobuf = protobuf::replies(&encode(Encoding::Protobuf));
    assert_eq!(protobuf.len(), 1);
    (json, protobuf.remove(0))
}

proptest! {
    #[test]
    fn a_command_means_the_same_in_both_encodings(command in any_command()) {
        let json = Encoding::Json.decode(command.to_string().as_bytes());
        let protobuf = Encoding::Protobuf.decode(&protobuf::command(&command));
        prop_assert_eq!(json, protobuf);
    }

    #[test]
    fn commands_of_one_frame_keep_their_order(commands in prop::collection::vec(any_command(), 1..5)) {
        let lines: Vec<_> = commands.iter().map(Value::to_string).collect();
        let messages: Vec<_> = commands.iter().map(protobuf::command).collect();
        let json = Encoding::Json.decode(lines.join("\n").as_bytes());
        let protobuf = Encoding::Protobuf.decode(&messages.concat());
        if let Ok(read) = &json {
            let ids: Vec<_> = read.iter().map(|command| u64::from(command.id)).collect();
            let sent: Vec<_> = commands.iter().map(|command| command["id"].as_u64().unwrap()).collect();
            prop_assert_eq!(ids, sent);
        }
        prop_assert_eq!(json, protobuf);
    }

    #[test]
    fn a_publication_reads_the_same_in_both_encodings(publication in any_publication(), channel in ".{1,20}") {
        let (json, protobuf) = both(|encoding| push(encoding, &channel, &Push::Publication(&publication)));
        let data: Value = serde_json::from_slice(&publication.data).unwrap();
        prop_assert_eq!(&json["push"]["pub"]["data"], &data);
        prop_assert_eq!(says_something(json), says_something(protobuf));
    }

    #[test]
    fn results_read_the_same_in_both_encodings(
        id in 1_u32..,
        publications in prop::collection::vec(any_publication(), 0..3),
        members in prop::collection::vec(any_info(), 0..3),
        epoch in "[a-z]{0,6}",
        flags in any::<[bool; 5]>(),
        ttl in any::<u32>(),
    ) {
        let [expires, recoverable, recovered, positioned, was_recovering] = flags;
        let subscribed = SubscribeResult {
            expires, ttl, recoverable, recovered, positioned, was_recovering,
            epoch: epoch.as_str().into(),
            offset: u64::from(ttl),
            publications: publications.clone(),
            data: members.first().and_then(|info| info.conn_info.clone()),
        };
        let presence: BTreeMap<_, _> = members
            .into_iter()
            .map(|info| (Arc::clone(&info.client), Arc::new(info)))
            .collect();
        let history = HistoryResult { publications, epoch: epoch.into(), offset: 7 };
        for (json, protobuf) in [
            both(|encoding| result(encoding, id, &subscribed)),
            both(|encoding| result(encoding, id, &PresenceResult { presence: presence.clone() })),
            both(|encoding| result(encoding, id, &history)),
            both(|encoding| failure(encoding, id, &Failure::bad_request("no such thing"))),
        ] {
            prop_assert_eq!(&json["id"], id);
            prop_assert_eq!(says_something(json), says_something(protobuf));
        }
    }
}

proptest! {
    #[test]
    fn a_push_reads_the_same_in_both_encodings(
        channel in ".{0,20}",
        info in any_info(),
        data in any_data(),
        code in 2_000_u32..3_000,
        flags in any::<[bool; 3]>(),
        epoch in "[a-z]{0,6}",
        ttl in any::<u32>(),
    ) {
        let [expires, recoverable, positioned] = flags;
        let data = raw_json(&data);
        let subscribed = SubscribeResult {
            recoverable, positioned,
            epoch: epoch.as_str().into(),
            offset: u64::from(ttl),
            data: Some(Arc::clone(&data)),
            ..SubscribeResult::default()
        };
        for what in [
            Push::Join { info: &info },
            Push::Leave { info: &info },
            Push::Unsubscribe { code, reason: "insufficient state" },
            Push::Message { data: &data },
            Push::Subscribe(&subscribed),
            Push::Refresh { expires, ttl },
        ] {
            let (json, protobuf) = both(|encoding| push(encoding, &channel, &what));
            prop_assert_eq!(json["push"].as_object().unwrap().len(), 1 + usize::from(!channel.is_empty()));
            prop_assert_eq!(says_something(json), says_something(protobuf));
        }
    }

    #[test]
    fn what_each_command_is_answered_reads_the_same_in_both_encodings(
        id in 1_u32..,
        data in any_data(),
        expires in any::<bool>(),
        numbers in any::<[u32; 2]>(),
        time in 1..OFFSET_MAX as i64,
    ) {
        let [ttl, ping] = numbers;
        let subs = BTreeMap::from([("#u1".into(), SubscribeResult { ttl, ..SubscribeResult::default() })]);
        let connected = ConnectResult {
            client: "c", version: "0.1.0", pong: true, expires, ttl, ping, subs, time, data: &data,
        };
        let refreshed = RefreshResult { client: "c", version: "0.1.0", expires, ttl };
        let (num_clients, num_users) = (ttl, ping);
        for (name, (json, protobuf)) in [
            ("connect", both(|encoding| result(encoding, id, &connected))),
            ("refresh", both(|encoding| result(encoding, id, &refreshed))),
            ("sub_refresh", both(|encoding| result(encoding, id, &SubRefreshResult { expires, ttl }))),
            ("presence_stats", both(|encoding| result(encoding, id, &PresenceStatsResult { num_clients, num_users }))),
            ("rpc", both(|encoding| result(encoding, id, &RpcResult { data: &data }))),
            ("rpc", both(|encoding| result(encoding, id, &RpcResult { data: Empty {} }))),
            ("publish", both(|encoding| result(encoding, id, &PublishResult {}))),
            ("unsubscribe", both(|encoding| result(encoding, id, &UnsubscribeResult {}))),
            ("ping", both(|encoding| result(encoding, id, &PingResult {}))),
        ] {
            // Client libraries look into it unasked, however little it says.
            prop_assert!(json[name].is_object() && protobuf[name].is_object(), "{}", name);
            prop_assert_eq!(says_something(json), says_something(protobuf));
        }
    }
}

/// Without what is empty: JSON writes a few fields that Protobuf has no way to write. Payloads are compared as text,
/// because what is empty in them is the player's own.
fn says_something(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let fields = fields.into_iter().filter_map(|(name, value)| {
        let value = match (name.as_str(), value) {
            ("data" | "conn_info" | "chan_info", payload) => Value::from(payload.to_string()),
            ("publications", Value::Array(items)) => {
                items.into_iter().map(says_something).collect()
            }
            (_, value) => says_something(value),
        };
        let is_empty = value == json!("") || value == json!([]) || value == json!({}) || value == 0;
        (!is_empty).then_some((name, value))
    });
    Value::Object(fields.collect())
}

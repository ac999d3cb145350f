//! The protocol's Protobuf messages as the JSON that tests speak. Written against `client.proto`, not against the
//! hub's own conversions, so that it finds what those forget.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast::wire::protobuf::{self as proto, frame, messages};
use serde_json::{Map, Value, json};

/// One command, `{"id": 1, "publish": {...}}`, as a message of a frame.
pub(crate) fn command(command: &Value) -> Vec<u8> {
    let fields = command.as_object().expect("a command is an object");
    let mut message = proto::Command {
        id: number(command, "id"),
        ..proto::Command::default()
    };
    for (name, body) in fields.iter().filter(|(name, _)| *name != "id") {
        put(&mut message, name, body);
    }
    frame(&message).to_vec()
}

fn put(message: &mut proto::Command, name: &str, body: &Value) {
    let channel = text(body, "channel");
    match name {
        "connect" => message.connect = Some(connect(body)),
        "subscribe" => message.subscribe = Some(subscribe(body)),
        "unsubscribe" => message.unsubscribe = Some(proto::UnsubscribeRequest { channel }),
        "publish" => {
            let data = payload(body);
            message.publish = Some(proto::PublishRequest { channel, data });
        }
        "presence" => message.presence = Some(proto::PresenceRequest { channel }),
        "presence_stats" => message.presence_stats = Some(proto::PresenceStatsRequest { channel }),
        "history" => message.history = Some(history(body)),
        "ping" => message.ping = Some(proto::PingRequest {}),
        "send" => {
            let data = payload(body);
            message.send = Some(proto::SendRequest { data });
        }
        "rpc" => {
            message.rpc = Some(proto::RpcRequest {
                data: payload(body),
                method: text(body, "method"),
            });
        }
        "refresh" => {
            let token = text(body, "token");
            message.refresh = Some(proto::RefreshRequest { token });
        }
        "sub_refresh" => {
            let token = text(body, "token");
            message.sub_refresh = Some(proto::SubRefreshRequest { channel, token });
        }
        _ => panic!("no such command: {name}"),
    }
}

fn connect(body: &Value) -> proto::ConnectRequest {
    let empty = Map::new();
    let subs = body["subs"].as_object().unwrap_or(&empty);
    proto::ConnectRequest {
        token: text(body, "token"),
        data: payload(body),
        subs: subs
            .iter()
            .map(|(channel, body)| (channel.clone(), subscribe(body)))
            .collect(),
    }
}

fn subscribe(body: &Value) -> proto::SubscribeRequest {
    proto::SubscribeRequest {
        channel: text(body, "channel"),
        token: text(body, "token"),
        recover: body["recover"].as_bool().unwrap_or_default(),
        epoch: text(body, "epoch"),
        offset: number(body, "offset"),
        delta: text(body, "delta"),
        tf: body.get("tf").map(|_| proto::FilterNode {}),
        flag: number(body, "flag"),
        r#type: number(body, "type"),
    }
}

fn history(body: &Value) -> proto::HistoryRequest {
    let since = body.get("since").map(|since| proto::StreamPosition {
        offset: number(since, "offset"),
        epoch: text(since, "epoch"),
    });
    proto::HistoryRequest {
        channel: text(body, "channel"),
        limit: number(body, "limit"),
        since,
        reverse: body["reverse"].as_bool().unwrap_or_default(),
    }
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

fn number<T: TryFrom<i64> + Default>(body: &Value, name: &str) -> T {
    let number = body[name].as_i64().unwrap_or_default();
    T::try_from(number).unwrap_or_else(|_| panic!("{name} of {body} does not fit"))
}

fn payload(body: &Value) -> Bytes {
    let data = body.get("data").map(Value::to_string);
    data.unwrap_or_default().into()
}

/// The replies of a frame as JSON; what is zero is left out, as in the JSON encoding.
pub(crate) fn replies(frame: &[u8]) -> Vec<Value> {
    messages::<proto::Reply>(frame)
        .map(|reply| self::reply(reply.expect("the daemon sends Protobuf")))
        .collect()
}

fn reply(reply: proto::Reply) -> Value {
    let mut told = object([("id", reply.id.into())]);
    let mut put = |name: &str, body: Option<Value>| {
        if let Some(body) = body {
            told[name] = body;
        }
    };
    put("error", reply.error.map(error));
    put("push", reply.push.map(push));
    put("connect", reply.connect.map(connected));
    put("subscribe", reply.subscribe.map(subscribed));
    put("unsubscribe", reply.unsubscribe.map(|_| json!({})));
    put("publish", reply.publish.map(|_| json!({})));
    put(
        "presence",
        reply
            .presence
            .map(|body| json!({ "presence": by_name(body.presence, client) })),
    );
    put(
        "presence_stats",
        reply
            .presence_stats
            .map(|body| json!({ "num_clients": body.num_clients, "num_users": body.num_users })),
    );
    put(
        "history",
        reply.history.map(|body| json!({ "publications": publications(body.publications), "epoch": body.epoch, "offset": body.offset })),
    );
    put("ping", reply.ping.map(|_| json!({})));
    put(
        "rpc",
        reply.rpc.map(|body| json!({ "data": parsed(&body.data) })),
    );
    put(
        "refresh",
        reply.refresh.map(|body| {
            object([
                ("client", body.client.into()),
                ("version", body.version.into()),
                ("expires", body.expires.into()),
                ("ttl", body.ttl.into()),
            ])
        }),
    );
    put(
        "sub_refresh",
        reply
            .sub_refresh
            .map(|body| object([("expires", body.expires.into()), ("ttl", body.ttl.into())])),
    );
    told
}

fn error(error: proto::Error) -> Value {
    object([
        ("code", error.code.into()),
        ("message", error.message.into()),
        ("temporary", error.temporary.into()),
    ])
}

fn push(push: proto::Push) -> Value {
    let mut told = object([("channel", push.channel.into())]);
    let mut put = |name: &str, body: Option<Value>| {
        if let Some(body) = body {
            told[name] = body;
        }
    };
    let info = |info: Option<proto::ClientInfo>| json!({ "info": info.map(client) });
    put("pub", push.r#pub.map(publication));
    put("join", push.join.map(|join| info(join.info)));
    put("leave", push.leave.map(|leave| info(leave.info)));
    put(
        "unsubscribe",
        push.unsubscribe
            .map(|body| json!({ "code": body.code, "reason": body.reason })),
    );
    put(
        "message",
        push.message
            .map(|body| json!({ "data": parsed(&body.data) })),
    );
    put(
        "subscribe",
        push.subscribe.map(|body| {
            object([
                ("recoverable", body.recoverable.into()),
                ("positioned", body.positioned.into()),
                ("epoch", body.epoch.into()),
                ("offset", body.offset.into()),
                ("data", parsed(&body.data)),
            ])
        }),
    );
    put(
        "refresh",
        push.refresh
            .map(|body| object([("expires", body.expires.into()), ("ttl", body.ttl.into())])),
    );
    told
}

fn connected(result: proto::ConnectResult) -> Value {
    object([
        ("client", result.client.into()),
        ("version", result.version.into()),
        ("expires", result.expires.into()),
        ("ttl", result.ttl.into()),
        ("data", parsed(&result.data)),
        ("subs", by_name(result.subs, subscribed)),
        ("ping", result.ping.into()),
        ("pong", result.pong.into()),
        ("time", result.time.into()),
    ])
}

fn subscribed(result: proto::SubscribeResult) -> Value {
    object([
        ("expires", result.expires.into()),
        ("ttl", result.ttl.into()),
        ("recoverable", result.recoverable.into()),
        ("epoch", result.epoch.into()),
        ("publications", publications(result.publications)),
        ("recovered", result.recovered.into()),
        ("offset", result.offset.into()),
        ("positioned", result.positioned.into()),
        ("data", parsed(&result.data)),
        ("was_recovering", result.was_recovering.into()),
    ])
}

fn publication(publication: proto::Publication) -> Value {
    object([
        ("data", parsed(&publication.data)),
        ("info", publication.info.map(client).unwrap_or_default()),
        ("offset", publication.offset.into()),
        ("tags", by_name(publication.tags, Value::from)),
        ("time", publication.time.into()),
    ])
}

fn publications(publications: Vec<proto::Publication>) -> Value {
    publications.into_iter().map(publication).collect()
}

fn client(info: proto::ClientInfo) -> Value {
    object([
        ("user", info.user.into()),
        ("client", info.client.into()),
        ("conn_info", parsed(&info.conn_info)),
        ("chan_info", parsed(&info.chan_info)),
    ])
}

fn by_name<T>(map: BTreeMap<String, T>, value: impl Fn(T) -> Value) -> Value {
    let fields = map.into_iter().map(|(name, one)| (name, value(one)));
    Value::Object(fields.collect())
}

fn parsed(json: &[u8]) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(json).expect("payloads are JSON")
}

/// An object of the fields that say something. A payload does unless it is absent: what is empty in it is the player's.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let says_something = |name: &str, value: &Value| match value {
        Value::Null => false,
        _ if ["data", "conn_info", "chan_info"].contains(&name) => true,
        Value::Bool(is_so) => *is_so,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    };
    let fields = fields
        .into_iter()
        .filter(|(name, value)| says_something(name, value))
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect())
}

//! Commands from Protobuf frames.

use bytes::Bytes;

use super as proto;
use crate::command::{
    COMMANDS_PER_FRAME_MAX, Command, ConnectRequest, FrameError, HistoryRequest, Position, Request,
    SubscribeRequest, null,
};

/// Decodes all commands of a Protobuf frame.
pub(crate) fn decode(frame: &[u8]) -> Result<Vec<Command>, FrameError> {
    let mut commands = Vec::new();
    for message in super::messages::<proto::Command>(frame) {
        let message = message.map_err(|error| FrameError::Malformed(error.to_string()))?;
        if commands.len() == COMMANDS_PER_FRAME_MAX {
            return Err(FrameError::TooMany);
        }
        let id = message.id;
        commands.push(Command::new(id, request(message))?);
    }
    if commands.is_empty() {
        return Err(FrameError::Empty);
    }
    Ok(commands)
}

/// Returns the first method that is present, in the order of the fields.
fn request(command: proto::Command) -> Option<Request> {
    None.or_else(|| command.connect.map(connect))
        .or_else(|| {
            command
                .subscribe
                .map(|raw| Request::Subscribe(subscribe(raw)))
        })
        .or_else(|| {
            let channel = command.unsubscribe?.channel;
            Some(Request::Unsubscribe { channel })
        })
        .or_else(|| {
            let raw = command.publish?;
            Some(Request::Publish {
                channel: raw.channel,
                data: payload(&raw.data).unwrap_or_else(null),
            })
        })
        .or_else(|| {
            let channel = command.presence?.channel;
            Some(Request::Presence { channel })
        })
        .or_else(|| {
            let channel = command.presence_stats?.channel;
            Some(Request::PresenceStats { channel })
        })
        .or_else(|| command.history.map(history))
        .or_else(|| command.ping.map(|_| Request::Ping))
        .or_else(|| command.send.map(|_| Request::Send))
        .or_else(|| {
            let raw = command.rpc?;
            Some(Request::Rpc {
                method: raw.method,
                data: payload(&raw.data),
            })
        })
        .or_else(|| {
            let token = command.refresh?.token;
            Some(Request::Refresh { token })
        })
        .or_else(|| {
            let proto::SubRefreshRequest { channel, token } = command.sub_refresh?;
            Some(Request::SubRefresh { channel, token })
        })
}

/// Copies a payload out of the read buffer, which the payload would otherwise keep in memory. Empty counts as absent,
/// and so does null, as in JSON.
fn payload(data: &Bytes) -> Option<Bytes> {
    let is_absent = data.is_empty() || data == &null();
    (!is_absent).then(|| Bytes::copy_from_slice(data))
}

fn connect(raw: proto::ConnectRequest) -> Request {
    let subs = raw.subs.into_iter();
    Request::Connect(ConnectRequest {
        token: raw.token,
        data: payload(&raw.data),
        subs: subs
            .filter_map(|(channel, raw)| Some((channel, subscribe(raw).recover?)))
            .collect(),
    })
}

fn subscribe(raw: proto::SubscribeRequest) -> SubscribeRequest {
    let position = Position {
        epoch: raw.epoch,
        offset: raw.offset,
    };
    SubscribeRequest {
        channel: raw.channel,
        token: raw.token,
        recover: raw.recover.then_some(position),
        delta: raw.delta,
        has_filter: raw.tf.is_some(),
        flag: raw.flag,
        sort: raw.r#type,
    }
}

fn history(raw: proto::HistoryRequest) -> Request {
    Request::History(HistoryRequest {
        channel: raw.channel,
        limit: raw.limit,
        since: raw.since.map(|raw| Position {
            epoch: raw.epoch,
            offset: raw.offset,
        }),
        is_reverse: raw.reverse,
    })
}

//! Replies and pushes as Protobuf messages.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super as proto;
use crate::failure::Failure;
use crate::publication::{ClientInfo, Publication};
use crate::push::Push;
use crate::reply::{
    CommandResult, ConnectResult, HistoryResult, PingResult, PresenceResult, PresenceStatsResult,
    PublishResult, RefreshResult, RpcResult, SubRefreshResult, SubscribeResult, UnsubscribeResult,
};

pub(crate) fn push(channel: &str, push: &Push<'_>) -> proto::Push {
    let mut told = proto::Push {
        channel: channel.to_owned(),
        ..proto::Push::default()
    };
    match push {
        Push::Publication(publication) => told.r#pub = Some((*publication).into()),
        Push::Join { info } => {
            let info = Some((*info).into());
            told.join = Some(proto::Join { info });
        }
        Push::Leave { info } => {
            let info = Some((*info).into());
            told.leave = Some(proto::Leave { info });
        }
        Push::Unsubscribe { code, reason } => {
            told.unsubscribe = Some(proto::Unsubscribe {
                code: *code,
                reason: (*reason).to_owned(),
            });
        }
        Push::Message { data } => told.message = Some(proto::Message { data: text(data) }),
        Push::Subscribe(result) => {
            told.subscribe = Some(proto::Subscribe {
                recoverable: result.recoverable,
                epoch: result.epoch.to_string(),
                offset: result.offset,
                positioned: result.positioned,
                data: result.data.as_deref().map(text).unwrap_or_default(),
            });
        }
        Push::Refresh { expires, ttl } => {
            told.refresh = Some(proto::Refresh {
                expires: *expires,
                ttl: *ttl,
            });
        }
    }
    told
}

fn text(raw: &RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}

fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("replies have text keys only")
        .into()
}

impl From<&ClientInfo> for proto::ClientInfo {
    fn from(info: &ClientInfo) -> proto::ClientInfo {
        proto::ClientInfo {
            user: info.user.to_string(),
            client: info.client.to_string(),
            conn_info: info.conn_info.as_deref().map(text).unwrap_or_default(),
            chan_info: info.chan_info.as_deref().map(text).unwrap_or_default(),
        }
    }
}

impl From<&Publication> for proto::Publication {
    fn from(publication: &Publication) -> proto::Publication {
        proto::Publication {
            data: publication.data.clone(),
            info: publication.info.as_deref().map(Into::into),
            offset: publication.offset,
            tags: publication.tags.as_deref().cloned().unwrap_or_default(),
            time: publication.time.0,
        }
    }
}

impl From<&Failure> for proto::Error {
    fn from(failure: &Failure) -> proto::Error {
        proto::Error {
            code: failure.code,
            message: failure.message.to_string(),
            temporary: failure.temporary,
        }
    }
}

impl From<&SubscribeResult> for proto::SubscribeResult {
    fn from(result: &SubscribeResult) -> proto::SubscribeResult {
        proto::SubscribeResult {
            expires: result.expires,
            ttl: result.ttl,
            recoverable: result.recoverable,
            epoch: result.epoch.to_string(),
            publications: result.publications.iter().map(Into::into).collect(),
            recovered: result.recovered,
            offset: result.offset,
            positioned: result.positioned,
            data: result.data.as_deref().map(text).unwrap_or_default(),
            was_recovering: result.was_recovering,
        }
    }
}

impl<D: Serialize> CommandResult for ConnectResult<'_, D> {
    const FIELD: &'static str = "connect";

    fn put(&self, reply: &mut proto::Reply) {
        let subs = self.subs.iter();
        reply.connect = Some(proto::ConnectResult {
            client: self.client.to_owned(),
            version: self.version.to_owned(),
            expires: self.expires,
            ttl: self.ttl,
            data: json(&self.data),
            subs: subs
                .map(|(channel, result)| (channel.to_string(), result.into()))
                .collect(),
            ping: self.ping,
            pong: self.pong,
            time: self.time,
        });
    }
}

impl CommandResult for SubscribeResult {
    const FIELD: &'static str = "subscribe";

    fn put(&self, reply: &mut proto::Reply) {
        reply.subscribe = Some(self.into());
    }
}

impl CommandResult for UnsubscribeResult {
    const FIELD: &'static str = "unsubscribe";

    fn put(&self, reply: &mut proto::Reply) {
        reply.unsubscribe = Some(proto::UnsubscribeResult {});
    }
}

impl CommandResult for PublishResult {
    const FIELD: &'static str = "publish";

    fn put(&self, reply: &mut proto::Reply) {
        reply.publish = Some(proto::PublishResult {});
    }
}

impl CommandResult for PingResult {
    const FIELD: &'static str = "ping";

    fn put(&self, reply: &mut proto::Reply) {
        reply.ping = Some(proto::PingResult {});
    }
}

impl CommandResult for PresenceResult {
    const FIELD: &'static str = "presence";

    fn put(&self, reply: &mut proto::Reply) {
        let presence = self.presence.iter();
        reply.presence = Some(proto::PresenceResult {
            presence: presence
                .map(|(client, info)| (client.to_string(), (&**info).into()))
                .collect(),
        });
    }
}

impl CommandResult for PresenceStatsResult {
    const FIELD: &'static str = "presence_stats";

    fn put(&self, reply: &mut proto::Reply) {
        reply.presence_stats = Some(proto::PresenceStatsResult {
            num_clients: self.num_clients,
            num_users: self.num_users,
        });
    }
}

impl CommandResult for HistoryResult {
    const FIELD: &'static str = "history";

    fn put(&self, reply: &mut proto::Reply) {
        reply.history = Some(proto::HistoryResult {
            publications: self.publications.iter().map(Into::into).collect(),
            epoch: self.epoch.to_string(),
            offset: self.offset,
        });
    }
}

impl<D: Serialize> CommandResult for RpcResult<D> {
    const FIELD: &'static str = "rpc";

    fn put(&self, reply: &mut proto::Reply) {
        let data = json(&self.data);
        reply.rpc = Some(proto::RpcResult { data });
    }
}

impl CommandResult for RefreshResult<'_> {
    const FIELD: &'static str = "refresh";

    fn put(&self, reply: &mut proto::Reply) {
        reply.refresh = Some(proto::RefreshResult {
            client: self.client.to_owned(),
            version: self.version.to_owned(),
            expires: self.expires,
            ttl: self.ttl,
        });
    }
}

impl CommandResult for SubRefreshResult {
    const FIELD: &'static str = "sub_refresh";

    fn put(&self, reply: &mut proto::Reply) {
        reply.sub_refresh = Some(proto::SubRefreshResult {
            expires: self.expires,
            ttl: self.ttl,
        });
    }
}

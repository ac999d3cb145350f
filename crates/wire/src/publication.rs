//! A publication in a room's stream, and its publisher.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::time::HubTime;

/// The identity of a member, as other members see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientInfo {
    pub user: Arc<str>,
    /// The connection's id.
    pub client: Arc<str>,
    /// Connection info from the login: the name at least.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub conn_info: Option<Arc<RawValue>>,
    /// The member's seat, or the info from its subscription token; absent for other spectators.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chan_info: Option<Arc<RawValue>>,
}

/// The tags of a publication.
pub type Tags = BTreeMap<String, String>;

/// Returns the tags of the hub's own events.
pub fn hub_tags() -> Arc<Tags> {
    static TAGS: LazyLock<Arc<Tags>> =
        LazyLock::new(|| Arc::new(Tags::from([("from".to_owned(), "hub".to_owned())])));
    Arc::clone(&TAGS)
}

/// Returns `value` as JSON text for replies.
///
/// # Panics
/// If `value` has keys that are not text; nothing in this crate has.
pub fn raw_json<T: Serialize>(value: &T) -> Arc<RawValue> {
    serde_json::value::to_raw_value(value)
        .expect("the hub's own messages have text keys only")
        .into()
}

/// One message in a room's stream.
#[derive(Debug, Clone)]
pub struct Publication {
    /// 0 if the room keeps no history.
    pub offset: u64,
    /// Valid JSON without raw line feeds.
    pub data: Bytes,
    /// The publisher; `None` for the hub's own events and for the server API.
    pub info: Option<Arc<ClientInfo>>,
    pub tags: Option<Arc<Tags>>,
    /// When the room accepted it: in hub time while stored, by the wall clock when sent.
    pub time: HubTime,
}

/// Weight of a publication besides its payload: a rough measure, so that a history of empty messages is bounded as
/// well.
const OVERHEAD_BYTES: usize = 128;

impl Publication {
    /// Returns the approximate size in memory, and on its way to a client, in bytes.
    pub fn weight(&self) -> usize {
        let info = self.info.as_deref().map_or(0, |info| {
            let raw = [&info.conn_info, &info.chan_info].into_iter().flatten();
            info.user.len() + info.client.len() + raw.map(|raw| raw.get().len()).sum::<usize>()
        });
        let tags = self.tags.iter().flat_map(|tags| tags.iter());
        let tags: usize = tags.map(|(name, value)| name.len() + value.len()).sum();
        self.data.len() + info + tags + OVERHEAD_BYTES
    }

    /// Appends the publication as a JSON object. The payload is copied unparsed: it was checked on arrival.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"data\":");
        out.extend_from_slice(&self.data);
        if let Some(info) = &self.info {
            field(out, ",\"info\":", &**info);
        }
        if self.offset > 0 {
            field(out, ",\"offset\":", &self.offset);
        }
        if let Some(tags) = &self.tags {
            field(out, ",\"tags\":", &**tags);
        }
        field(out, ",\"time\":", &self.time.0);
        out.push(b'}');
    }
}

impl Serialize for Publication {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::new();
        self.write_json(&mut text);
        let raw: &RawValue = serde_json::from_slice(&text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Appends a name, as it is written in the object, and a value.
pub(super) fn field<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    out.extend_from_slice(name.as_bytes());
    serde_json::to_writer(out, value).expect("replies have text keys only");
}

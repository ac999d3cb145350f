//! Publications in their stored form: client info and tags are JSON there.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::persistence::StoredPublication;
use crate::wire::Publication;

pub(in crate::room) fn to_stored(publication: &Publication) -> StoredPublication {
    StoredPublication {
        offset: publication.offset,
        data: publication.data.clone(),
        info: publication.info.as_deref().map(json),
        tags: publication.tags.as_deref().map(json),
        time: publication.time,
    }
}

/// Converts from the stored form. Info or tags that cannot be read are dropped, the publication stays.
pub(in crate::room) fn restored(stored: StoredPublication) -> Publication {
    fn read<T: DeserializeOwned>(json: Option<Bytes>) -> Option<Arc<T>> {
        let json = json?;
        serde_json::from_slice(&json).ok().map(Arc::new)
    }
    Publication {
        offset: stored.offset,
        data: stored.data,
        info: read(stored.info),
        tags: read(stored.tags),
        time: stored.time,
    }
}

pub(in crate::room) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("what the hub stores has text keys only")
        .into()
}

//! Server API: `publish` and `broadcast`.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::ServerApi;
use super::answer::{Answer, Outcome, answer};
use super::fields::{Fields, must_be};
use crate::room::{ServerPublication, StreamPosition};
use crate::wire::{ErrorCode, Failure, Tags, hub_tags};

/// The most channels of one broadcast. With more, its caller would time out.
const BROADCAST_MAX: usize = 1_000;

/// Rooms that one broadcast asks at one time.
const CONCURRENCY_MAX: usize = 64;

/// The most tags of a publication, and the bytes of all names and values together: they are sent to every member.
const TAGS_MAX: usize = 32;
const TAGS_BYTES_MAX: usize = 2 * 1_024;

/// A UUID has 36 bytes, a SHA-256 in hexadecimal 64.
const KEY_BYTES_MAX: usize = 128;

/// The position of a publication; empty where the channel keeps no history.
#[derive(Debug, Serialize)]
struct PlacedAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Arc<str>>,
}

#[derive(Debug, Serialize)]
struct BroadcastAnswer {
    responses: Vec<Outcome>,
}

impl ServerApi {
    pub(super) async fn publish(&self, fields: &Fields<'_>) -> Answer {
        let channel = fields.needed_text("channel")?;
        let word = self.word(fields)?;
        self.place(&channel, word).await
    }

    pub(super) async fn broadcast(&self, fields: &Fields<'_>) -> Answer {
        let channels: Vec<String> = fields
            .get("channels", "a list of texts")?
            .unwrap_or_default();
        if channels.is_empty() || channels.len() > BROADCAST_MAX {
            let kind = format_args!("a list of 1 to {BROADCAST_MAX} channels");
            return Err(must_be("channels", kind));
        }
        let word = self.word(fields)?;
        let mut placing = Vec::with_capacity(channels.len());
        for channel in &channels {
            let word = word.clone();
            placing.push(async move { Outcome::from(self.place(channel, word).await) });
        }
        let responses = stream::iter(placing)
            .buffered(CONCURRENCY_MAX)
            .collect()
            .await;
        answer(&BroadcastAnswer { responses })
    }

    async fn place(&self, channel: &str, word: ServerPublication) -> Answer {
        let StreamPosition { offset, epoch } = self.rooms.publish(channel, word).await?;
        let is_kept = offset > 0;
        answer(&PlacedAnswer {
            offset: is_kept.then_some(offset),
            epoch: is_kept.then_some(epoch),
        })
    }

    fn word(&self, fields: &Fields<'_>) -> Result<ServerPublication, Failure> {
        let data = fields.payload("data", self.data_bytes_max)?;
        let version: Option<u64> = fields.number("version", "a whole number")?;
        if version.is_some_and(|version| version > 0) {
            // If it were ignored, an older state could follow a newer one.
            return Err(ErrorCode::NotAvailable.into());
        }
        Ok(ServerPublication {
            data: data.ok_or_else(|| must_be("data", "given"))?,
            tags: tags(fields)?,
            is_passing: fields.is("skip_history")?,
            key: key(fields)?,
        })
    }
}

fn tags(fields: &Fields<'_>) -> Result<Option<Arc<Tags>>, Failure> {
    let tags: Tags = fields
        .get("tags", "an object of texts")?
        .unwrap_or_default();
    let bytes: usize = tags
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_BYTES_MAX {
        let kind = format_args!("{TAGS_MAX} at most, with {TAGS_BYTES_MAX} bytes together");
        return Err(must_be("tags", kind));
    }
    let is_as_hub = hub_tags()
        .iter()
        .any(|(name, value)| tags.get(name) == Some(value));
    if is_as_hub {
        return Err(must_be(
            "tags",
            "other than from=hub, which marks the hub's own events",
        ));
    }
    Ok((!tags.is_empty()).then(|| tags.into()))
}

fn key(fields: &Fields<'_>) -> Result<Option<Arc<str>>, Failure> {
    let key = fields.text("idempotency_key")?;
    if key.len() > KEY_BYTES_MAX {
        let kind = format_args!("{KEY_BYTES_MAX} bytes long at most");
        return Err(must_be("idempotency_key", kind));
    }
    Ok((!key.is_empty()).then(|| key.into()))
}

//! A room's stream of publications: their numbers, and the recent past.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::HubTime;
use crate::config::KindConfig;
use crate::delivery::QueueLimits;
use crate::id::random_bytes;
use crate::persistence::{StoredPublication, StoredStream};
use crate::wire::{
    ClientInfo, ErrorCode, HistoryRequest, Position, Publication, SubscribeRequest,
    SubscribeResult, Tags,
};

/// What a publication weighs in memory beside its payload; a rough measure, so that a history of
/// empty messages is bounded as well.
const OVERHEAD_BYTES: usize = 128;

/// The stream of one room. A kind without history numbers nothing.
#[derive(Debug)]
pub(super) struct Stream {
    epoch: Arc<str>,
    top: u64,
    kept: VecDeque<Publication>,
    bytes: usize,
    size_max: usize,
    bytes_max: usize,
    ttl: Duration,
}

/// A name for a stream's numbering that was never used before.
pub fn new_epoch() -> Arc<str> {
    uuid::Builder::from_random_bytes(random_bytes())
        .into_uuid()
        .simple()
        .to_string()[..12]
        .into()
}

impl Stream {
    /// Takes a stream up where it was written out, or begins a new one under the given epoch.
    pub(super) fn new(config: &KindConfig, stored: StoredStream) -> Stream {
        let mut stream = Stream {
            epoch: stored.epoch,
            top: stored.top,
            kept: VecDeque::new(),
            bytes: 0,
            size_max: config.history_size,
            bytes_max: config.history_bytes,
            ttl: config.history_ttl,
        };
        if !stored.is_continued || stream.epoch.is_empty() {
            stream.epoch = new_epoch();
            stream.top = 0;
            return stream;
        }
        for stored in stored.publications {
            stream.keep(restored(stored));
        }
        stream
    }

    /// Numbers a publication and keeps it.
    pub(super) fn append(
        &mut self,
        data: Bytes,
        info: Option<Arc<ClientInfo>>,
        tags: Option<Arc<Tags>>,
        now: HubTime,
    ) -> Publication {
        let mut publication = Publication {
            offset: 0,
            data,
            info,
            tags,
            time: now,
        };
        if self.has_history() {
            self.top += 1;
            publication.offset = self.top;
            self.keep(publication.clone());
            self.prune(now);
        }
        publication
    }

    /// What a new subscriber is told, with what it missed if it asks and all of it is there.
    pub(super) fn subscribe(
        &mut self,
        request: &SubscribeRequest,
        limits: QueueLimits,
        now: HubTime,
    ) -> Result<SubscribeResult, ErrorCode> {
        if !self.has_history() {
            return Ok(SubscribeResult::default());
        }
        self.prune(now);
        let mut result = SubscribeResult {
            recoverable: true,
            positioned: true,
            epoch: Arc::clone(&self.epoch),
            offset: self.top,
            was_recovering: request.recover.is_some(),
            ..SubscribeResult::default()
        };
        if let Some(position) = &request.recover {
            match self.missed(position, limits) {
                Some(missed) => {
                    result.recovered = true;
                    result.offset = position.offset;
                    result.publications = missed;
                }
                None if request.is_recovery_required() => {
                    return Err(ErrorCode::UnrecoverablePosition);
                }
                None => {}
            }
        }
        Ok(result)
    }

    /// A page of the past.
    pub(super) fn page(
        &mut self,
        request: &HistoryRequest,
        count_max: usize,
        now: HubTime,
    ) -> Result<Vec<Publication>, ErrorCode> {
        if !self.has_history() {
            return Err(ErrorCode::NotAvailable);
        }
        self.prune(now);
        if let Some(since) = &request.since
            && !since.epoch.is_empty()
            && *since.epoch != *self.epoch
        {
            return Err(ErrorCode::UnrecoverablePosition);
        }
        let since = request.since.as_ref().map(|position| position.offset);
        if request.is_reverse && since == Some(0) {
            return Err(ErrorCode::BadRequest);
        }
        let count = usize::try_from(request.limit).map_or(count_max, |limit| limit.min(count_max));
        let kept = self.kept.iter();
        Ok(if request.is_reverse {
            kept.rev()
                .filter(|publication| since.is_none_or(|since| publication.offset < since))
                .take(count)
                .cloned()
                .collect()
        } else {
            kept.filter(|publication| publication.offset > since.unwrap_or(0))
                .take(count)
                .cloned()
                .collect()
        })
    }

    pub(super) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub(super) fn top(&self) -> u64 {
        self.top
    }

    pub(super) fn has_history(&self) -> bool {
        self.size_max > 0
    }

    /// What is written out at a planned stop.
    pub(super) fn to_stored(&self) -> StoredStream {
        StoredStream {
            epoch: Arc::clone(&self.epoch),
            top: self.top,
            is_continued: true,
            is_durable: false,
            publications: self.kept.iter().map(to_stored).collect(),
        }
    }

    /// Everything after a position, or nothing if any of it is gone or it is too much at once.
    fn missed(&self, position: &Position, limits: QueueLimits) -> Option<Vec<Publication>> {
        let is_epoch = position.epoch.is_empty() || *position.epoch == *self.epoch;
        let count = self.top.checked_sub(position.offset)?;
        let count = usize::try_from(count).ok()?;
        if !is_epoch || count > self.kept.len() || count > limits.count_max {
            return None;
        }
        let missed: Vec<_> = self
            .kept
            .range(self.kept.len() - count..)
            .cloned()
            .collect();
        let bytes: usize = missed.iter().map(weight).sum();
        (bytes <= limits.bytes_max).then_some(missed)
    }

    fn keep(&mut self, publication: Publication) {
        self.bytes += weight(&publication);
        self.kept.push_back(publication);
    }

    fn prune(&mut self, now: HubTime) {
        while let Some(oldest) = self.kept.front()
            && (self.kept.len() > self.size_max
                || self.bytes > self.bytes_max
                || now.since(oldest.time) > self.ttl)
        {
            self.bytes -= weight(oldest);
            self.kept.pop_front();
        }
    }
}

/// Client info and tags are written as JSON.
fn to_stored(publication: &Publication) -> StoredPublication {
    StoredPublication {
        offset: publication.offset,
        data: publication.data.clone(),
        info: publication.info.as_deref().map(json),
        tags: publication.tags.as_deref().map(json),
        time: publication.time,
    }
}

fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("what the hub stores has text keys only")
        .into()
}

/// Written by this hub, so it reads back; what does not is forgotten, not the message.
fn restored(stored: StoredPublication) -> Publication {
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

fn weight(publication: &Publication) -> usize {
    publication.data.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: HubTime = HubTime(1_000_000);
    const LIMITS: QueueLimits = QueueLimits {
        bytes_max: 1 << 20,
        count_max: 100,
    };

    fn stream(size: usize) -> Stream {
        let mut config = crate::config::Config::default().kind["table"].clone();
        config.history_size = size;
        Stream::new(&config, StoredStream::default())
    }

    fn say(stream: &mut Stream, count: usize, now: HubTime) {
        for _ in 0..count {
            stream.append(Bytes::from_static(b"1"), None, None, now);
        }
    }

    fn recover(stream: &mut Stream, epoch: &str, offset: u64, now: HubTime) -> SubscribeResult {
        let request = SubscribeRequest {
            recover: Some(Position {
                epoch: epoch.to_owned(),
                offset,
            }),
            ..SubscribeRequest::to("")
        };
        stream.subscribe(&request, LIMITS, now).unwrap()
    }

    fn offsets(publications: &[Publication]) -> Vec<u64> {
        publications.iter().map(|one| one.offset).collect()
    }

    fn history(stream: &mut Stream, limit: i32, since: Option<u64>, is_reverse: bool) -> Vec<u64> {
        let request = HistoryRequest {
            channel: String::new(),
            limit,
            since: since.map(|offset| Position {
                epoch: String::new(),
                offset,
            }),
            is_reverse,
        };
        offsets(&stream.page(&request, 300, NOW).unwrap())
    }

    #[test]
    fn who_comes_back_gets_all_that_was_missed_in_order() {
        let mut stream = stream(8);
        say(&mut stream, 5, NOW);
        let epoch = stream.epoch().to_string();

        let result = recover(&mut stream, &epoch, 2, NOW);

        assert!(result.recovered);
        assert_eq!(result.offset, 2);
        assert_eq!(offsets(&result.publications), [3, 4, 5]);
        assert!(recover(&mut stream, "", 5, NOW).recovered);
    }

    #[test]
    fn what_is_not_wholly_there_is_not_recovered_at_all() {
        let mut stream = stream(3);
        say(&mut stream, 5, NOW);
        let epoch = stream.epoch().to_string();
        let late = NOW.plus(Duration::from_hours(1));

        for (epoch, offset, now) in [
            (epoch.as_str(), 1, NOW),
            ("other", 4, NOW),
            (&epoch, 6, NOW),
            (&epoch, 4, late),
        ] {
            let result = recover(&mut stream, epoch, offset, now);
            assert!(
                result.was_recovering && !result.recovered,
                "{epoch} {offset}"
            );
            assert!(result.publications.is_empty());
            assert_eq!(result.offset, 5);
        }
    }

    #[test]
    fn a_page_of_history_goes_either_way() {
        let mut stream = stream(8);
        say(&mut stream, 5, NOW);

        assert!(history(&mut stream, 0, None, false).is_empty());
        assert_eq!(history(&mut stream, 2, None, false), [1, 2]);
        assert_eq!(history(&mut stream, 2, Some(2), false), [3, 4]);
        assert_eq!(history(&mut stream, 2, None, true), [5, 4]);
        assert_eq!(history(&mut stream, 2, Some(3), true), [2, 1]);
        assert_eq!(history(&mut stream, -1, None, false), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_stream_that_was_written_out_goes_on_where_it_was() {
        let config = crate::config::Config::default().kind["table"].clone();
        let mut stream = stream(8);
        say(&mut stream, 3, NOW);

        let mut continued = Stream::new(&config, stream.to_stored());

        let epoch = stream.epoch().to_string();
        let result = recover(&mut continued, &epoch, 1, NOW);
        assert_eq!(offsets(&result.publications), [2, 3]);
        let next = continued.append(Bytes::from_static(b"1"), None, None, NOW);
        assert_eq!(next.offset, 4);
    }
}

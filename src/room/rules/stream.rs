//! A room's stream of publications: their offsets, and the recent history.

use std::sync::Arc;
use std::time::Duration;

use super::publish_queue::PublicationDraft;
use super::retention::RetainedHistory;
use super::stored::{restored, to_stored};
use crate::clock::HubTime;
use crate::config::KindConfig;
use crate::delivery::QueueLimits;
use crate::id::{RoomId, random_bytes};
use crate::persistence::{HistoryWindow, StoredPublication, StoredStream, StreamId};
use crate::room::history_memory::HistoryShare;
use crate::wire::{
    ErrorCode, HistoryRequest, Position, Publication, SubscribeRequest, SubscribeResult,
};

/// The stream of one room. Without history, publications get no offset.
#[derive(Debug)]
pub(in crate::room) struct Stream {
    epoch: Arc<str>,
    top: u64,
    kept: RetainedHistory,
    size_max: usize,
    bytes_max: usize,
    ttl: Duration,
    durable: Option<Durable>,
}

/// The state of a durable stream's rows.
#[derive(Debug)]
struct Durable {
    /// The offset after which the stream begins in the database; None once it has begun there.
    begins_after: Option<u64>,
    past: Past,
    /// Rows below this offset are marked for removal.
    pruned_below: u64,
}

/// The state of the history from before the room was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// In memory, as far as it is kept.
    Here,
    /// In the database, up to and including this offset; all of it was published before the moment.
    Unread {
        top: u64,
        at: HubTime,
    },
    Reading {
        top: u64,
        at: HubTime,
    },
}

/// Returns a random name for a stream epoch, never used before.
pub fn new_epoch() -> Arc<str> {
    uuid::Builder::from_random_bytes(random_bytes())
        .into_uuid()
        .simple()
        .to_string()[..12]
        .into()
}

impl Stream {
    /// Continues a stream that was written out, or begins a new one under the given epoch.
    pub(in crate::room) fn new(config: &KindConfig, stored: StoredStream, now: HubTime) -> Stream {
        let mut stream = Stream {
            epoch: stored.epoch,
            top: stored.top,
            kept: RetainedHistory::default(),
            size_max: config.history_size,
            bytes_max: config.history_bytes,
            ttl: config.history_ttl,
            durable: None,
        };
        let is_new = !stored.is_continued || stream.epoch.is_empty();
        if is_new {
            stream.epoch = new_epoch();
            stream.top = 0;
        }
        if config.history_durable {
            stream.durable = Some(Durable::new(stored.is_durable && !is_new, stream.top, now));
        }
        if is_new {
            return stream;
        }
        for stored in stored.publications {
            stream.kept.push(restored(stored));
        }
        stream
    }

    /// Gives a publication its offset and adds it to the history.
    pub(in crate::room) fn append(&mut self, said: PublicationDraft, now: HubTime) -> Publication {
        let mut publication = Publication {
            offset: 0,
            data: said.data,
            info: said.info,
            tags: said.tags,
            time: said.time,
        };
        if self.has_history() {
            self.top += 1;
            publication.offset = self.top;
            self.kept.push(publication.clone());
            self.prune(now);
            self.kept.fit_into_memory();
        }
        publication
    }

    /// Returns the result for a new subscriber, with all missed publications if it asks for them and none is lost.
    pub(in crate::room) fn subscribe(
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

    /// Returns a page of the history, within the request's limit and the limits of one answer.
    pub(in crate::room) fn page(
        &mut self,
        request: &HistoryRequest,
        limits: QueueLimits,
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
        let count_max = limits.count_max;
        let count = usize::try_from(request.limit).map_or(count_max, |limit| limit.min(count_max));
        let kept = self.kept.iter();
        Ok(if request.is_reverse {
            let earlier = kept.rev();
            let earlier = earlier.filter(|one| since.is_none_or(|since| one.offset < since));
            within(limits.bytes_max, earlier.take(count))
        } else {
            let later = kept.filter(|one| one.offset > since.unwrap_or(0));
            within(limits.bytes_max, later.take(count))
        })
    }

    pub(in crate::room) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub(in crate::room) fn top(&self) -> u64 {
        self.top
    }

    pub(in crate::room) fn has_history(&self) -> bool {
        self.size_max > 0
    }

    pub(in crate::room) fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// Returns the stream's identity in the database.
    pub(in crate::room) fn id(&self, room: RoomId) -> StreamId {
        StreamId {
            room,
            epoch: Arc::clone(&self.epoch),
            begins_after: self
                .durable
                .as_ref()
                .and_then(|durable| durable.begins_after),
        }
    }

    /// Records that the database has the stream.
    pub(in crate::room) fn begun(&mut self) {
        if let Some(durable) = &mut self.durable {
            durable.begins_after = None;
        }
    }

    /// Returns whether a part of the history is only in the database.
    pub(in crate::room) fn is_past_missing(&self) -> bool {
        self.past() != Past::Here
    }

    /// Returns whether a subscriber may have missed publications of that part.
    pub(in crate::room) fn needs_past(&self, request: &SubscribeRequest) -> bool {
        let Some(position) = &request.recover else {
            return false;
        };
        let missed = self.top.saturating_sub(position.offset);
        let is_kept = usize::try_from(missed).is_ok_and(|missed| missed <= self.kept.len());
        self.is_past_missing() && self.is_epoch(position) && !is_kept
    }

    /// Returns the part of the history to be read, unless it is being read.
    pub(in crate::room) fn window(&mut self, room: RoomId, now: HubTime) -> Option<HistoryWindow> {
        let durable = self.durable.as_mut()?;
        let Past::Unread { top, at } = durable.past else {
            return None;
        };
        durable.past = Past::Reading { top, at };
        Some(HistoryWindow {
            room,
            epoch: Arc::clone(&self.epoch),
            top,
            count_max: self.size_max,
            bytes_max: self.bytes_max,
            since: now.minus(self.ttl),
        })
    }

    /// Adds the history that was read.
    pub(in crate::room) fn put_past(&mut self, past: Vec<StoredPublication>, now: HubTime) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let Past::Reading { top, .. } = durable.past else {
            return;
        };
        durable.past = Past::Here;
        let oldest = self.oldest_offset();
        // Publications since the read began may have filled the history.
        if oldest != top + 1 {
            return;
        }
        for stored in past.into_iter().rev() {
            self.kept.push_oldest(restored(stored));
        }
        self.prune(now);
    }

    /// Records that reading the history failed.
    pub(in crate::room) fn past_is_unread(&mut self) {
        if let Some(durable) = &mut self.durable
            && let Past::Reading { top, at } = durable.past
        {
            durable.past = Past::Unread { top, at };
        }
    }

    /// Counts the history, from now on, with those of all open channels.
    pub(in crate::room) fn count_with(&mut self, share: HistoryShare) {
        self.kept.count_with(share);
    }

    /// Drops publications older than a moment: other channels need the memory.
    pub(in crate::room) fn forget_before(&mut self, moment: HubTime) {
        self.kept.forget_before(moment);
    }

    /// Drops the history up to and including an offset.
    pub(in crate::room) fn forget(&mut self, up_to: u64) {
        while self
            .kept
            .oldest()
            .is_some_and(|oldest| oldest.offset <= up_to)
        {
            self.kept.drop_oldest();
        }
        if let Some(durable) = &mut self.durable {
            durable.past = Past::Here;
        }
    }

    /// Drops publications beyond the limits of size and age. Returns the offset below which the database may drop
    /// them too, once there are `at_least` more such rows.
    pub(in crate::room) fn outdated(&mut self, now: HubTime, at_least: u64) -> Option<u64> {
        self.prune(now);
        let size = u64::try_from(self.size_max).unwrap_or(u64::MAX);
        let by_size = (self.top + 1).saturating_sub(size);
        let oldest = self.oldest_offset();
        let ttl = self.ttl;
        let durable = self.durable.as_mut()?;
        if let Past::Unread { at, .. } = durable.past
            && now.since(at) > ttl
        {
            durable.past = Past::Here;
        }
        let below = match durable.past {
            Past::Here => oldest,
            Past::Unread { .. } | Past::Reading { .. } => by_size,
        };
        if below < durable.pruned_below.saturating_add(at_least) {
            return None;
        }
        durable.pruned_below = below;
        Some(below)
    }

    /// Returns the time until the next publication of a durable stream expires.
    pub(in crate::room) fn next_expiry(&self, now: HubTime) -> Option<Duration> {
        let oldest = match self.durable.as_ref()?.past {
            Past::Here => self.kept.oldest()?.time,
            Past::Unread { at, .. } | Past::Reading { at, .. } => at,
        };
        Some(oldest.plus(self.ttl).since(now))
    }

    /// Returns the stream in the form that is written out at a planned stop.
    pub(in crate::room) fn to_stored(&self) -> StoredStream {
        StoredStream {
            epoch: Arc::clone(&self.epoch),
            top: self.top,
            is_continued: true,
            is_durable: false,
            publications: self.kept.iter().map(to_stored).collect(),
        }
    }

    /// Returns everything after a position, or None if any of it is lost or it exceeds the limits.
    fn missed(&self, position: &Position, limits: QueueLimits) -> Option<Vec<Publication>> {
        let count = self.top.checked_sub(position.offset)?;
        let count = usize::try_from(count).ok()?;
        if !self.is_epoch(position) || count > self.kept.len() || count > limits.count_max {
            return None;
        }
        let missed: Vec<_> = self.kept.newest(count).cloned().collect();
        let bytes: usize = missed.iter().map(Publication::weight).sum();
        (bytes <= limits.bytes_max).then_some(missed)
    }

    fn is_epoch(&self, position: &Position) -> bool {
        position.epoch.is_empty() || *position.epoch == *self.epoch
    }

    fn past(&self) -> Past {
        let durable = self.durable.as_ref();
        durable.map_or(Past::Here, |durable| durable.past)
    }

    /// Returns the lowest offset in the history; the next offset if it is empty.
    fn oldest_offset(&self) -> u64 {
        let oldest = self.kept.oldest();
        oldest.map_or(self.top + 1, |oldest| oldest.offset)
    }

    fn prune(&mut self, now: HubTime) {
        while let Some(oldest) = self.kept.oldest()
            && (self.kept.len() > self.size_max
                || self.kept.bytes() > self.bytes_max
                || now.since(oldest.time) > self.ttl)
        {
            self.kept.drop_oldest();
        }
    }
}

impl Durable {
    fn new(is_stored: bool, top: u64, now: HubTime) -> Durable {
        let past = match is_stored && top > 0 {
            true => Past::Unread { top, at: now },
            false => Past::Here,
        };
        Durable {
            begins_after: (!is_stored).then_some(top),
            past,
            pruned_below: 1,
        }
    }
}

/// Returns the first publications within the limit of bytes. The first is returned whatever its size, so that
/// paging always makes progress.
fn within<'a>(
    bytes_max: usize,
    publications: impl Iterator<Item = &'a Publication>,
) -> Vec<Publication> {
    let mut bytes = 0;
    let fitting = publications.enumerate().take_while(|(index, publication)| {
        bytes += publication.weight();
        *index == 0 || bytes <= bytes_max
    });
    fitting
        .map(|(_, publication)| publication.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: HubTime = HubTime(1_000_000);
    const LIMITS: QueueLimits = QueueLimits {
        bytes_max: 1 << 20,
        count_max: 100,
    };

    fn stream(size: usize) -> Stream {
        let mut config = crate::config::Config::default().kind["table"].clone();
        config.history_size = size;
        Stream::new(&config, StoredStream::default(), NOW)
    }

    fn said(time: HubTime) -> PublicationDraft {
        PublicationDraft {
            data: Bytes::from_static(b"1"),
            info: None,
            tags: None,
            time,
            since: std::time::Instant::now(),
        }
    }

    fn say(stream: &mut Stream, count: usize, now: HubTime) {
        for _ in 0..count {
            stream.append(said(now), now);
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
        offsets(&stream.page(&request, LIMITS, NOW).unwrap())
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

        let mut continued = Stream::new(&config, stream.to_stored(), NOW);

        let epoch = stream.epoch().to_string();
        let result = recover(&mut continued, &epoch, 1, NOW);
        assert_eq!(offsets(&result.publications), [2, 3]);
        let next = continued.append(said(NOW), NOW);
        assert_eq!(next.offset, 4);
    }

    /// A durable stream of a kind with this history, as in the database, with nothing read.
    fn durable(size: usize, top: u64) -> Stream {
        let mut config = crate::config::Config::default().kind["duel"].clone();
        config.history_size = size;
        let stored = StoredStream {
            epoch: "stored".into(),
            top,
            is_continued: true,
            is_durable: true,
            publications: Vec::new(),
        };
        Stream::new(&config, stored, NOW)
    }

    fn rows(offsets: std::ops::RangeInclusive<u64>) -> Vec<StoredPublication> {
        let row = |offset| StoredPublication {
            offset,
            data: Bytes::from_static(b"1"),
            info: None,
            tags: None,
            time: NOW,
        };
        offsets.map(row).collect()
    }

    fn recovery(offset: u64) -> SubscribeRequest {
        SubscribeRequest {
            recover: Some(Position {
                epoch: "stored".into(),
                offset,
            }),
            ..SubscribeRequest::to("")
        }
    }

    #[test]
    fn the_past_of_a_durable_stream_is_read_once_somebody_has_missed_of_it() {
        let mut stream = durable(8, 5);
        say(&mut stream, 2, NOW);
        assert!(!stream.needs_past(&SubscribeRequest::to("")));
        assert!(!stream.needs_past(&recovery(5)));
        assert!(stream.needs_past(&recovery(4)));

        let window = stream.window(RoomId::new(), NOW).unwrap();
        assert_eq!(window.top, 5);
        assert!(stream.window(RoomId::new(), NOW).is_none(), "read already");
        say(&mut stream, 1, NOW);
        stream.put_past(rows(1..=5), NOW);

        assert!(!stream.needs_past(&recovery(1)));
        let result = recover(&mut stream, "stored", 1, NOW);
        assert_eq!(offsets(&result.publications), [2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_past_that_comes_too_late_or_cannot_be_read_leaves_no_gap() {
        let mut stream = durable(3, 5);
        stream.window(RoomId::new(), NOW).unwrap();
        stream.past_is_unread();
        stream.window(RoomId::new(), NOW).unwrap();
        // In the meantime, as many arrive as the history keeps.
        say(&mut stream, 4, NOW);
        stream.put_past(rows(3..=5), NOW);

        assert!(!recover(&mut stream, "stored", 5, NOW).recovered);
        let result = recover(&mut stream, "stored", 6, NOW);
        assert_eq!(offsets(&result.publications), [7, 8, 9]);
    }

    #[test]
    fn what_a_durable_stream_keeps_no_longer_is_told_in_steps() {
        let mut stream = durable(4, 0);
        assert_eq!(stream.next_expiry(NOW), None);
        say(&mut stream, 6, NOW);
        assert_eq!(stream.outdated(NOW, 4), None);
        say(&mut stream, 2, NOW);
        assert_eq!(stream.outdated(NOW, 4), Some(5));
        assert_eq!(stream.outdated(NOW, 1), None);

        let old = NOW.plus(Duration::from_secs(601));
        assert_eq!(stream.next_expiry(NOW), Some(Duration::from_secs(600)));
        assert_eq!(stream.outdated(old, 1), Some(9));
        assert_eq!(stream.next_expiry(old), None);
    }

    #[test]
    fn a_past_that_nobody_asks_for_is_dropped_when_it_is_too_old() {
        let mut stream = durable(4, 100);
        assert_eq!(stream.next_expiry(NOW), Some(Duration::from_secs(600)));
        assert_eq!(stream.outdated(NOW, 1), Some(97));

        let old = NOW.plus(Duration::from_secs(601));
        assert_eq!(stream.outdated(old, 1), Some(101));
        assert!(!stream.is_past_missing());
    }

    #[test]
    fn a_history_that_is_removed_leaves_its_top() {
        let mut stream = durable(8, 5);
        say(&mut stream, 3, NOW);

        stream.forget(7);

        assert!(!recover(&mut stream, "stored", 6, NOW).recovered);
        assert!(recover(&mut stream, "stored", 7, NOW).recovered);
        assert_eq!(stream.top(), 8);
    }

    #[test]
    fn a_stream_that_becomes_durable_says_where_it_begins() {
        let room = RoomId::new();
        let mut config = crate::config::Config::default().kind["duel"].clone();
        config.history_size = 8;
        let mut memory = stream(8);
        say(&mut memory, 3, NOW);

        let mut continued = Stream::new(&config, memory.to_stored(), NOW);
        let fresh = Stream::new(&config, StoredStream::default(), NOW);

        assert_eq!(continued.id(room).begins_after, Some(3));
        assert_eq!(fresh.id(room).begins_after, Some(0));
        assert_eq!(durable(8, 5).id(room).begins_after, None);
        continued.begun();
        assert_eq!(continued.id(room).begins_after, None);
    }
}

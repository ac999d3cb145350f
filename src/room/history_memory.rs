//! The memory for the histories of all open channels together. Anybody may make up channels, so none has a share of
//! its own: when memory is scarce, the oldest publications are dropped, whichever channel has them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;

use crate::clock::HubTime;

/// The wait before more memory is freed: the channels have mostly dropped their publications by then.
const RETRY_DELAY: Duration = Duration::from_millis(5);

/// The wait before the next look at all channels, as a multiple of the time that a look takes.
const REST_SHARE: u32 = 10;

/// Steps of the binary search from the oldest publication to the newest: to the millisecond within half a year.
const HALVINGS: usize = 34;

/// A callback that makes a channel drop publications older than a moment.
pub(super) type Forget = Box<dyn Fn(HubTime) + Send + Sync>;

/// The memory of all histories. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HistoryMemory(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    max: usize,
    used: AtomicUsize,
    is_making_room: AtomicBool,
    next: AtomicU64,
    channels: Mutex<HashMap<u64, Arc<Channel>>>,
    shown: Gauge,
    forgotten: Counter,
}

/// The bytes and times of one channel's history. The times are in hub time.
struct Channel {
    bytes: AtomicUsize,
    oldest: AtomicI64,
    newest: AtomicI64,
    forget: Forget,
}

/// The part of the memory that one channel uses, freed when this is dropped.
#[derive(Debug)]
pub(super) struct HistoryShare {
    memory: Arc<Memory>,
    number: u64,
    channel: Arc<Channel>,
}

/// Publications of one channel between two moments, assumed to be evenly spread.
#[derive(Debug, Clone, Copy)]
struct Span {
    bytes: usize,
    oldest: i64,
    newest: i64,
}

impl HistoryMemory {
    /// Creates the metrics as well, for which the recorder must be installed.
    pub(super) fn new(max: usize) -> HistoryMemory {
        HistoryMemory(Arc::new(Memory {
            max,
            used: AtomicUsize::new(0),
            is_making_room: AtomicBool::new(false),
            next: AtomicU64::new(0),
            channels: Mutex::default(),
            shown: gauge!("holdfast_history_bytes"),
            forgotten: counter!("holdfast_history_forgotten_total"),
        }))
    }

    /// Gives a channel a share, empty at first.
    pub(super) fn share(&self, forget: Forget) -> HistoryShare {
        let memory = Arc::clone(&self.0);
        let number = memory.next.fetch_add(1, Ordering::Relaxed);
        let channel = Arc::new(Channel {
            bytes: AtomicUsize::new(0),
            oldest: AtomicI64::new(0),
            newest: AtomicI64::new(0),
            forget,
        });
        memory.channels.lock().insert(number, Arc::clone(&channel));
        HistoryShare {
            memory,
            number,
            channel,
        }
    }
}

impl HistoryShare {
    /// Takes memory for a publication.
    pub(super) fn add(&self, bytes: usize, time: HubTime) {
        let (memory, channel) = (&self.memory, &self.channel);
        if channel.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            channel.oldest.store(time.0, Ordering::Relaxed);
        }
        channel.newest.store(time.0, Ordering::Relaxed);
        let used = memory.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        memory.shown.set(used as f64);
        if memory.is_scarce() {
            Memory::make_room(memory);
        }
    }

    /// Frees the memory of the oldest publication. `oldest` is the time of the next one.
    pub(super) fn give_back(&self, bytes: usize, oldest: Option<HubTime>) {
        if let Some(oldest) = oldest {
            self.channel.oldest.store(oldest.0, Ordering::Relaxed);
        }
        self.channel.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.give_back(bytes);
    }

    /// Returns whether the histories exceed the memory.
    pub(super) fn is_exceeded(&self) -> bool {
        self.memory.used.load(Ordering::Relaxed) > self.memory.max
    }

    /// Counts publications that were dropped to free memory.
    pub(super) fn forgotten(&self, publications: u64) {
        self.memory.forgotten.increment(publications);
    }
}

impl Drop for HistoryShare {
    fn drop(&mut self) {
        self.memory.channels.lock().remove(&self.number);
        self.memory
            .give_back(self.channel.bytes.swap(0, Ordering::Relaxed));
    }
}

impl Memory {
    fn give_back(&self, bytes: usize) {
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        self.shown.set(used as f64);
    }

    /// Returns whether memory is to be freed, which then goes on down to `enough`. A channel at the limit of the
    /// memory keeps a new publication only in place of its own old ones.
    fn is_scarce(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max / 8 * 7
    }

    fn enough(&self) -> usize {
        self.max / 4 * 3
    }

    /// Makes the channels drop their oldest publications, in a task of its own and one at a time.
    fn make_room(memory: &Arc<Memory>) {
        if memory.is_making_room.swap(true, Ordering::AcqRel) {
            return;
        }
        let memory = Arc::clone(memory);
        tokio::spawn(async move {
            while memory.is_scarce() {
                let began = Instant::now();
                memory.forget_oldest();
                let rest = began.elapsed() * REST_SHARE;
                tokio::time::sleep(rest.max(RETRY_DELAY)).await;
            }
            memory.is_making_room.store(false, Ordering::Release);
        });
    }

    fn forget_oldest(&self) {
        let channels: Vec<(Span, Arc<Channel>)> = {
            let channels = self.channels.lock();
            let spans = channels
                .values()
                .map(|channel| (channel.span(), Arc::clone(channel)));
            spans.filter(|(span, _)| span.bytes > 0).collect()
        };
        let used = self.used.load(Ordering::Relaxed);
        let surplus = used.saturating_sub(self.enough());
        let spans: Vec<Span> = channels.iter().map(|(span, _)| *span).collect();
        let before = moment(&spans, surplus);
        for (_, channel) in channels.iter().filter(|(span, _)| span.oldest < before) {
            (channel.forget)(HubTime(before));
        }
    }
}

impl Channel {
    fn span(&self) -> Span {
        Span {
            bytes: self.bytes.load(Ordering::Relaxed),
            oldest: self.oldest.load(Ordering::Relaxed),
            newest: self.newest.load(Ordering::Relaxed),
        }
    }
}

impl Span {
    /// Returns about how many of its bytes are older than a moment.
    fn older_than(self, moment: i64) -> f64 {
        if moment <= self.oldest {
            return 0.0;
        }
        let lasted = (self.newest - self.oldest + 1) as f64;
        let share = (moment - self.oldest) as f64 / lasted;
        self.bytes as f64 * share.min(1.0)
    }
}

/// Returns the moment before which about `bytes` bytes were published, rounded up, by a binary search.
fn moment(spans: &[Span], bytes: usize) -> i64 {
    let mut after = spans.iter().map(|span| span.oldest).min().unwrap_or(0);
    let newest = spans.iter().map(|span| span.newest).max().unwrap_or(0);
    let mut before = newest.saturating_add(1);
    for _ in 0..HALVINGS {
        let middle = after + (before - after) / 2;
        let older: f64 = spans.iter().map(|span| span.older_than(middle)).sum();
        match older < bytes as f64 {
            true => after = middle,
            false => before = middle,
        }
    }
    before
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(bytes: usize, oldest: i64, newest: i64) -> Span {
        Span {
            bytes,
            oldest,
            newest,
        }
    }

    #[test]
    fn the_moment_lies_behind_as_many_bytes_as_are_to_go() {
        let spans = [span(100, 0, 99), span(100, 200, 299)];
        for (bytes, expected) in [(50, 50), (100, 100), (150, 250), (200, 300)] {
            assert_eq!(moment(&spans, bytes), expected, "{bytes}");
        }
        assert_eq!(moment(&[], 1), 1);
        let same = [span(10, 5, 5), span(10, 5, 5)];
        assert_eq!(moment(&same, 1), 6);
    }

    #[tokio::test]
    async fn the_channel_with_the_oldest_forgets_when_memory_gets_scarce() {
        let memory = HistoryMemory::new(1_000);
        let (tell, mut told) = tokio::sync::mpsc::channel(4);
        let share = |name: &'static str| {
            let tell = tell.clone();
            memory.share(Box::new(move |before| {
                tell.try_send((name, before)).unwrap()
            }))
        };
        let (old, new) = (share("old"), share("new"));
        old.add(400, HubTime(1_000));
        new.add(400, HubTime(2_000));
        assert!(told.try_recv().is_err());

        new.add(100, HubTime(3_000));

        let (name, before) = told.recv().await.unwrap();
        assert_eq!(name, "old");
        assert!((1_001..=2_000).contains(&before.0), "{before:?}");
        assert!(told.try_recv().is_err());
        assert!(!new.is_exceeded());
        new.add(101, HubTime(4_000));
        assert!(new.is_exceeded());
        drop(old);
        assert!(!new.is_exceeded());
        new.give_back(400, Some(HubTime(3_000)));
        assert_eq!(memory.0.used.load(Ordering::Relaxed), 201);
        assert_eq!(memory.0.channels.lock().len(), 1);
    }
}

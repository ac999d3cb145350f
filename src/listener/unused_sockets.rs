//! Unproven sockets: no request is in progress, and no session is connected. When a listener is full, a new socket
//! displaces one of them: the one that has shown the least, and of these the oldest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::connection_limits::Slot;

/// The most that a socket has shown, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// No request, or an incomplete one.
    Silent,
    /// An upgrade, but no session since.
    Upgraded,
    /// A request that was answered.
    Idle,
}

/// The position of a socket in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sort: Sort,
    /// In the order of arrival.
    number: u64,
}

/// The unproven sockets of a listener.
#[derive(Debug, Default)]
pub(super) struct UnusedSockets(Mutex<BTreeMap<Rank, Weak<Slot>>>);

/// The state of a socket with regard to displacement.
#[derive(Debug)]
pub(super) struct Standing {
    number: u64,
    rank: Mutex<Option<Rank>>,
    phase: AtomicU8,
    reader: AtomicWaker,
}

/// It may still be displaced.
const OPEN: u8 = 0;
/// It has a session: it stays, and its reads are no longer checked.
const KNOWN: u8 = 1;
/// It is displaced: its reads fail.
const DISPLACED: u8 = 2;

impl Standing {
    pub(super) fn new(number: u64) -> Standing {
        Standing {
            number,
            rank: Mutex::default(),
            phase: AtomicU8::new(OPEN),
            reader: AtomicWaker::new(),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == KNOWN
    }

    pub(super) fn is_displaced(&self) -> bool {
        self.phase.load(Ordering::Acquire) == DISPLACED
    }

    /// Polls for displacement; used by a read that has to wait.
    pub(super) fn poll_displaced(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        match self.is_displaced() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Makes the reads of the socket fail. Returns false if the socket stays.
    fn displace(&self) -> bool {
        let displaced =
            self.phase
                .compare_exchange(OPEN, DISPLACED, Ordering::AcqRel, Ordering::Acquire);
        if displaced.is_ok() {
            self.reader.wake();
        }
        displaced.is_ok()
    }
}

impl UnusedSockets {
    /// Adds a socket without a request in progress.
    pub(super) fn enter(&self, slot: &Weak<Slot>, standing: &Standing, sort: Sort) {
        let mut list = self.0.lock();
        let mut rank = standing.rank.lock();
        if let Some(earlier) = rank.take() {
            list.remove(&earlier);
        }
        if standing.phase.load(Ordering::Acquire) == OPEN {
            let number = standing.number;
            list.insert(*rank.insert(Rank { sort, number }), Weak::clone(slot));
        }
    }

    /// Removes a socket that has a request in progress, or is gone.
    pub(super) fn leave(&self, standing: &Standing) {
        let mut list = self.0.lock();
        if let Some(rank) = standing.rank.lock().take() {
            list.remove(&rank);
        }
    }

    /// Removes a socket that has a session.
    pub(super) fn known(&self, standing: &Standing) {
        self.leave(standing);
        // Already displaced: its next read fails, and its client reconnects.
        let _ = standing
            .phase
            .compare_exchange(OPEN, KNOWN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Displaces the first socket that has shown no more than `most`. Returns its slot, which it holds
    /// until its socket is closed.
    pub(super) fn displace_first(&self, most: Sort) -> Option<Arc<Slot>> {
        loop {
            let slot = {
                let mut list = self.0.lock();
                let first = list.first_entry()?;
                if first.key().sort > most {
                    return None;
                }
                first.remove()
            };
            // A socket that has just gone has freed its slot itself; another one is displaced nevertheless.
            let Some(slot) = slot.upgrade() else {
                continue;
            };
            *slot.standing().rank.lock() = None;
            if slot.standing().displace() {
                return Some(slot);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

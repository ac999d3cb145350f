//! Sockets that show nothing at this moment: no request is under way, and no session is connected. When there is no
//! room for another socket, the one of them that came first goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::connection_limits::Slot;

/// What a socket has shown, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// No request, or only a part of one.
    Silent,
    /// An upgrade, and no session since.
    Upgraded,
    /// A request that was answered.
    Idle,
}

/// Where a socket stands in the list, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sort: Sort,
    /// In the order of coming.
    number: u64,
}

/// The sockets of a listener that show nothing.
#[derive(Debug, Default)]
pub(super) struct UnusedSockets(Mutex<BTreeMap<Rank, Weak<Slot>>>);

/// What a slot knows of its own standing.
#[derive(Debug)]
pub(super) struct Standing {
    number: u64,
    rank: Mutex<Option<Rank>>,
    phase: AtomicU8,
    reader: AtomicWaker,
}

/// It may still be told to go.
const OPEN: u8 = 0;
/// It has a session: it stays, and its reads are looked at no more.
const KNOWN: u8 = 1;
/// It has been told to go: its reads fail.
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

    /// Called by a read that has to wait: pending until the socket is told to go.
    pub(super) fn poll_displaced(&self, cx: &Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        match self.is_displaced() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Has the reads of the socket fail. False if it stays.
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
    /// Notes that a socket shows nothing.
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

    /// Notes that a socket shows something, or is gone.
    pub(super) fn leave(&self, standing: &Standing) {
        let mut list = self.0.lock();
        if let Some(rank) = standing.rank.lock().take() {
            list.remove(&rank);
        }
    }

    /// Notes that a socket has a session.
    pub(super) fn known(&self, standing: &Standing) {
        self.leave(standing);
        // Told to go already: its next read fails, and its client comes back.
        let _ = standing
            .phase
            .compare_exchange(OPEN, KNOWN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Tells the first of them to go that has shown no more than `most`; gives its slot, which it has until its socket
    /// is closed.
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
            // One that is gone just now has made room by itself; another one is looked for all the same.
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

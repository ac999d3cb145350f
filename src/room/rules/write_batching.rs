//! Write batching for a crowd: a room with so many members that waking and writing to their sockets is nearly all
//! the cost of a publication.
//!
//! Publications in close succession go out in one write to each socket. The sockets are woken when no more
//! publications are about to come, or when enough are batched. There is no timer: to see whether more are coming, the
//! room yields to all other tasks first, which takes microseconds if they are idle.

use std::mem;

use crate::delivery::{GATHERED_MAX, Sleeper};

/// The number of members that make a crowd.
const CROWD: usize = 64;

/// The batch of a crowd whose sockets were not woken yet. Its drop wakes them.
#[derive(Debug, Default)]
pub(in crate::room) struct WriteBatcher {
    sleepers: Vec<Sleeper>,
    count: usize,
    bytes: usize,
    /// True if a publication has arrived since the last look.
    has_more: bool,
    is_watched: bool,
}

impl WriteBatcher {
    /// Returns whether this number of members is a crowd.
    pub(in crate::room) fn is(members: usize) -> bool {
        members >= CROWD
    }

    /// Adds a sleeping socket that has frames to write.
    pub(in crate::room) fn leave(&mut self, sleeper: Option<Sleeper>) {
        self.sleepers.extend(sleeper);
    }

    /// Adds a publication of this size to the batch. Returns whether the room has to schedule a look at it.
    pub(in crate::room) fn gather(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes;
        self.has_more = true;
        if self.count >= GATHERED_MAX.count_max || self.bytes >= GATHERED_MAX.bytes_max {
            self.wake();
        }
        !mem::replace(&mut self.is_watched, true)
    }

    /// Returns whether a publication has arrived since the last look.
    pub(in crate::room) fn has_more(&mut self) -> bool {
        mem::take(&mut self.has_more)
    }

    /// Flushes the batch: no more publications are about to come.
    pub(in crate::room) fn rouse(&mut self) {
        self.wake();
        self.is_watched = false;
    }

    fn wake(&mut self) {
        // The drop wakes them.
        self.sleepers = Vec::new();
        (self.count, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    use bytes::Bytes;

    use super::*;
    use crate::delivery::{Inbox, Outbound, QueueLimits};
    use crate::wire::Encoding;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A sleeping socket.
    fn socket() -> (Outbound, Inbox, Arc<Woken>) {
        let limits = QueueLimits {
            bytes_max: 1 << 20,
            count_max: 512,
        };
        let (outbound, mut inbox) = Outbound::open(limits, Encoding::Json);
        let woken = Arc::<Woken>::default();
        let waker = Arc::clone(&woken).into();
        let polled = pin!(inbox.next()).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        (outbound, inbox, woken)
    }

    fn say(crowd: &mut WriteBatcher, to: &Outbound, bytes: usize) -> bool {
        crowd.leave(to.leave(Bytes::from(vec![0; bytes]), None).unwrap());
        crowd.gather(bytes)
    }

    #[test]
    fn sockets_sleep_until_nobody_is_about_to_say_more() {
        let (outbound, _inbox, woken) = socket();
        let mut crowd = WriteBatcher::default();

        assert!(say(&mut crowd, &outbound, 64), "the room is to look");
        assert!(crowd.has_more());
        assert!(!say(&mut crowd, &outbound, 64), "it does so already");
        assert!(crowd.has_more());
        assert!(!crowd.has_more());
        assert!(!woken.0.load(Ordering::Relaxed));
        crowd.rouse();

        assert!(woken.0.load(Ordering::Relaxed));
        assert!(say(&mut crowd, &outbound, 64), "the room is to look again");
    }

    #[test]
    fn sockets_are_woken_when_enough_has_gathered_although_more_is_said() {
        let (count_max, bytes_max) = (GATHERED_MAX.count_max, GATHERED_MAX.bytes_max);
        for (count, bytes) in [(count_max, 1), (2, bytes_max / 2)] {
            let (outbound, _inbox, woken) = socket();
            let mut crowd = WriteBatcher::default();
            for _ in 1..count {
                say(&mut crowd, &outbound, bytes);
                assert!(!woken.0.load(Ordering::Relaxed));
            }

            say(&mut crowd, &outbound, bytes);

            assert!(woken.0.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn a_crowd_that_is_gone_wakes_its_sockets() {
        let (outbound, _inbox, woken) = socket();
        let mut crowd = WriteBatcher::default();
        say(&mut crowd, &outbound, 64);

        drop(crowd);

        assert!(woken.0.load(Ordering::Relaxed));
    }
}

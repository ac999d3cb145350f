//! A crowd: so many members that waking and writing to their sockets is nearly all that a publication costs.
//!
//! Publications that come close upon each other go out in one write to each socket: the sockets are woken when
//! nobody is about to say more, or when enough has gathered. There is no timer. To see whether more is
//! coming, the room lets everybody else run first, which takes microseconds where nobody has anything to say.

use std::mem;

use crate::delivery::{GATHERED_MAX, Sleeper};

/// So many members are a crowd.
const CROWD: usize = 64;

/// What has gathered for a crowd whose sockets were not woken yet. Dropped, it wakes them.
#[derive(Debug, Default)]
pub(in crate::room) struct WriteBatcher {
    sleepers: Vec<Sleeper>,
    count: usize,
    bytes: usize,
    /// Something was said since the room looked last.
    has_more: bool,
    is_watched: bool,
}

impl WriteBatcher {
    /// Whether so many members are one.
    pub(in crate::room) fn is(members: usize) -> bool {
        members >= CROWD
    }

    /// A socket that sleeps has something to write.
    pub(in crate::room) fn leave(&mut self, sleeper: Option<Sleeper>) {
        self.sleepers.extend(sleeper);
    }

    /// Something that weighs so many bytes was said. Whether the room has to look after it, as it does not do so yet.
    pub(in crate::room) fn gather(&mut self, bytes: usize) -> bool {
        self.count += 1;
        self.bytes += bytes;
        self.has_more = true;
        if self.count >= GATHERED_MAX.count_max || self.bytes >= GATHERED_MAX.bytes_max {
            self.wake();
        }
        !mem::replace(&mut self.is_watched, true)
    }

    /// The room looks: whether something was said since it looked last.
    pub(in crate::room) fn has_more(&mut self) -> bool {
        mem::take(&mut self.has_more)
    }

    /// Nobody is about to say more.
    pub(in crate::room) fn rouse(&mut self) {
        self.wake();
        self.is_watched = false;
    }

    fn wake(&mut self) {
        // Dropped, they wake.
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

    /// A socket that sleeps.
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
        assert!(say(&mut crowd, &outbound, 64), "the room is to look anew");
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

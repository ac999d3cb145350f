//! Who is alive, who is being started and who is about to leave: a shard's book, without actors.

use std::collections::HashMap;
use std::hash::Hash;

/// The state of each key of a shard. `H` is a handle, `W` somebody who waits for one.
#[derive(Debug)]
pub(super) struct Roster<K, H, W> {
    entries: HashMap<K, Entry<H, W>>,
}

#[derive(Debug)]
enum Entry<H, W> {
    /// Its row is being read: the newest reading counts.
    Loading {
        waiters: Vec<W>,
        reading: u64,
        is_rebuild: bool,
    },
    Live {
        handle: H,
    },
    /// It was asked whether it can go, and has not answered.
    Leaving {
        handle: H,
        waiters: Vec<W>,
    },
    /// It failed too often; its row is read when it has rested.
    Resting {
        reading: u64,
    },
}

/// What a look-up leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<H, W> {
    Live {
        handle: H,
        waiter: W,
    },
    /// The waiter waits with others; nothing is to be done.
    Waits,
    /// Nobody is there: the key must be loaded.
    Absent {
        waiter: W,
    },
    /// It failed too often, and is left alone for a while.
    Rests {
        waiter: W,
    },
}

impl<K: Clone + Eq + Hash, H: Clone, W> Roster<K, H, W> {
    pub(super) fn new() -> Roster<K, H, W> {
        Roster {
            entries: HashMap::new(),
        }
    }

    /// Looks a key up for somebody who waits for its handle.
    pub(super) fn find(&mut self, key: &K, waiter: W) -> Found<H, W> {
        match self.entries.get_mut(key) {
            Some(Entry::Live { handle }) => Found::Live {
                handle: handle.clone(),
                waiter,
            },
            Some(Entry::Loading { waiters, .. } | Entry::Leaving { waiters, .. }) => {
                waiters.push(waiter);
                Found::Waits
            }
            Some(Entry::Resting { .. }) => Found::Rests { waiter },
            None => Found::Absent { waiter },
        }
    }

    /// The handle, if it is live and stays.
    pub(super) fn live(&self, key: &K) -> Option<&H> {
        match self.entries.get(key) {
            Some(Entry::Live { handle }) => Some(handle),
            Some(Entry::Loading { .. } | Entry::Leaving { .. } | Entry::Resting { .. }) | None => {
                None
            }
        }
    }

    /// The handle, if there is an actor, even one that is about to leave.
    pub(super) fn here(&self, key: &K) -> Option<&H> {
        match self.entries.get(key) {
            Some(Entry::Live { handle } | Entry::Leaving { handle, .. }) => Some(handle),
            Some(Entry::Loading { .. } | Entry::Resting { .. }) | None => None,
        }
    }

    /// Whether there is an actor, or one on the way.
    pub(super) fn is_known(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether what this reading found is to be used.
    pub(super) fn awaits(&self, key: &K, found: u64) -> bool {
        match self.entries.get(key) {
            Some(Entry::Loading { reading, .. } | Entry::Resting { reading }) => *reading == found,
            Some(Entry::Live { .. } | Entry::Leaving { .. }) | None => false,
        }
    }

    /// Whether its row is being read at this moment.
    pub(super) fn is_read(&self, key: &K) -> bool {
        matches!(self.entries.get(key), Some(Entry::Loading { .. }))
    }

    /// Whether its row is being read for somebody who only looked it up: then whoever has just made it
    /// knows more.
    pub(super) fn is_looked_up(&self, key: &K) -> bool {
        matches!(
            self.entries.get(key),
            Some(Entry::Loading {
                is_rebuild: false,
                ..
            })
        )
    }

    /// Puts a started actor in, and gives back who waited for it.
    pub(super) fn started(&mut self, key: K, handle: H) -> Vec<W> {
        self.entries
            .insert(key, Entry::Live { handle })
            .map_or_else(Vec::new, Entry::into_waiters)
    }

    /// Starts loading, with those who wait for it and those who waited before.
    pub(super) fn load(&mut self, key: &K, new: Vec<W>, reading: u64, is_rebuild: bool) {
        let mut waiters = self.gone(key);
        waiters.extend(new);
        let entry = Entry::Loading {
            waiters,
            reading,
            is_rebuild,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// Leaves a key alone until its next reading. Gives who waited for it.
    pub(super) fn rest(&mut self, key: &K, reading: u64) -> Vec<W> {
        self.entries
            .insert(key.clone(), Entry::Resting { reading })
            .map_or_else(Vec::new, Entry::into_waiters)
    }

    /// A live one offers to go. Gives its handle, to ask it for good.
    pub(super) fn leaving(&mut self, key: &K) -> Option<H> {
        let handle = self.live(key)?.clone();
        let entry = Entry::Leaving {
            handle: handle.clone(),
            waiters: Vec::new(),
        };
        self.entries.insert(key.clone(), entry);
        Some(handle)
    }

    /// One that was about to leave stays. Gives its handle and who waited.
    pub(super) fn stays(&mut self, key: &K) -> Option<(H, Vec<W>)> {
        match self.entries.remove(key)? {
            Entry::Leaving { handle, waiters } => {
                let live = Entry::Live {
                    handle: handle.clone(),
                };
                self.entries.insert(key.clone(), live);
                Some((handle, waiters))
            }
            other @ (Entry::Live { .. } | Entry::Loading { .. } | Entry::Resting { .. }) => {
                self.entries.insert(key.clone(), other);
                None
            }
        }
    }

    /// Takes a key out. Gives who waited for it.
    pub(super) fn gone(&mut self, key: &K) -> Vec<W> {
        self.entries
            .remove(key)
            .map_or_else(Vec::new, Entry::into_waiters)
    }
}

impl<H, W> Entry<H, W> {
    fn into_waiters(self) -> Vec<W> {
        match self {
            Entry::Loading { waiters, .. } | Entry::Leaving { waiters, .. } => waiters,
            Entry::Live { .. } | Entry::Resting { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster<u8, &'static str, u32> {
        Roster::new()
    }

    #[test]
    fn two_look_ups_at_once_load_once() {
        let mut roster = roster();

        assert_eq!(roster.find(&1, 10), Found::Absent { waiter: 10 });
        roster.load(&1, vec![10], 1, false);
        assert_eq!(roster.find(&1, 11), Found::Waits);

        assert_eq!(roster.started(1, "actor"), [10, 11]);
        let live = Found::Live {
            handle: "actor",
            waiter: 12,
        };
        assert_eq!(roster.find(&1, 12), live);
    }

    #[test]
    fn who_asks_for_one_that_is_leaving_waits_for_its_answer() {
        let mut roster = roster();
        roster.started(1, "actor");

        assert_eq!(roster.leaving(&1), Some("actor"));
        assert_eq!(roster.leaving(&1), None);
        assert_eq!(roster.find(&1, 10), Found::Waits);

        assert_eq!(roster.stays(&1), Some(("actor", vec![10])));
        assert_eq!(roster.live(&1), Some(&"actor"));
    }

    #[test]
    fn one_that_is_gone_is_loaded_anew() {
        let mut roster = roster();
        roster.started(1, "actor");
        roster.leaving(&1);
        assert_eq!(roster.find(&1, 10), Found::Waits);

        assert_eq!(roster.gone(&1), [10]);
        assert_eq!(roster.find(&1, 11), Found::Absent { waiter: 11 });
    }

    #[test]
    fn of_two_readings_the_newer_one_counts_and_nobody_who_waited_is_lost() {
        let mut roster = roster();
        roster.load(&1, vec![10], 1, false);
        assert!(roster.is_looked_up(&1));

        roster.load(&1, vec![11], 2, true);

        assert!(!roster.is_looked_up(&1));
        assert!(!roster.awaits(&1, 1));
        assert!(roster.awaits(&1, 2));
        assert_eq!(roster.started(1, "actor"), [10, 11]);
    }

    #[test]
    fn who_asks_for_one_that_rests_is_told_so_at_once() {
        let mut roster = roster();
        roster.load(&1, vec![10], 1, true);

        assert_eq!(roster.rest(&1, 2), [10]);

        assert_eq!(roster.find(&1, 11), Found::Rests { waiter: 11 });
        assert!(roster.awaits(&1, 2));
    }
}

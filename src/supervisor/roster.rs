//! The state of each key of a shard: live, being started, or about to stop. Pure, without actors.

use std::collections::HashMap;
use std::hash::Hash;

/// The states of all keys of a shard. `H` is a handle, `W` a caller that waits for one.
#[derive(Debug)]
pub(super) struct Activations<K, H, W> {
    entries: HashMap<K, Entry<H, W>>,
}

#[derive(Debug)]
enum Entry<H, W> {
    /// Its row is being read: the newest read counts.
    Loading {
        waiters: Vec<W>,
        reading: u64,
        is_rebuild: bool,
    },
    Live {
        handle: H,
    },
    /// It was asked to stop, and has not answered.
    Leaving {
        handle: H,
        waiters: Vec<W>,
    },
    /// It failed too often; its row is read after a rest.
    Resting {
        reading: u64,
    },
}

/// The result of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<H, W> {
    Live {
        handle: H,
        waiter: W,
    },
    /// The caller waits with others; there is nothing to do.
    Waits,
    /// There is no actor: the key must be loaded.
    Absent {
        waiter: W,
    },
    /// It failed too often, and is left alone for a while.
    Rests {
        waiter: W,
    },
}

impl<K: Clone + Eq + Hash, H: Clone, W> Activations<K, H, W> {
    pub(super) fn new() -> Activations<K, H, W> {
        Activations {
            entries: HashMap::new(),
        }
    }

    /// Looks up a key for a caller that waits for its handle.
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

    /// Returns the handle, if the actor is live and stays.
    pub(super) fn live(&self, key: &K) -> Option<&H> {
        match self.entries.get(key) {
            Some(Entry::Live { handle }) => Some(handle),
            Some(Entry::Loading { .. } | Entry::Leaving { .. } | Entry::Resting { .. }) | None => {
                None
            }
        }
    }

    /// Returns the handle, if there is an actor, even one that is about to stop.
    pub(super) fn here(&self, key: &K) -> Option<&H> {
        match self.entries.get(key) {
            Some(Entry::Live { handle } | Entry::Leaving { handle, .. }) => Some(handle),
            Some(Entry::Loading { .. } | Entry::Resting { .. }) | None => None,
        }
    }

    /// Returns true if there is an actor, one on the way, or one that rests.
    pub(super) fn is_known(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Returns true if the result of this read is still wanted.
    pub(super) fn awaits(&self, key: &K, found: u64) -> bool {
        match self.entries.get(key) {
            Some(Entry::Loading { reading, .. } | Entry::Resting { reading }) => *reading == found,
            Some(Entry::Live { .. } | Entry::Leaving { .. }) | None => false,
        }
    }

    /// Returns true if its row is being read at this moment.
    pub(super) fn is_read(&self, key: &K) -> bool {
        matches!(self.entries.get(key), Some(Entry::Loading { .. }))
    }

    /// Returns true if its row is being read for a look-up only. A caller that has just made the row knows more.
    pub(super) fn is_looked_up(&self, key: &K) -> bool {
        matches!(
            self.entries.get(key),
            Some(Entry::Loading {
                is_rebuild: false,
                ..
            })
        )
    }

    /// Enters a started actor. Returns the callers that waited for it.
    pub(super) fn started(&mut self, key: K, handle: H) -> Vec<W> {
        self.entries
            .insert(key, Entry::Live { handle })
            .map_or_else(Vec::new, Entry::into_waiters)
    }

    /// Starts loading, for new callers and for those that waited before.
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

    /// Leaves a key alone until its next read. Returns the callers that waited for it.
    pub(super) fn rest(&mut self, key: &K, reading: u64) -> Vec<W> {
        self.entries
            .insert(key.clone(), Entry::Resting { reading })
            .map_or_else(Vec::new, Entry::into_waiters)
    }

    /// Marks a live actor as about to stop. Returns its handle, so that it can be asked.
    pub(super) fn leaving(&mut self, key: &K) -> Option<H> {
        let handle = self.live(key)?.clone();
        let entry = Entry::Leaving {
            handle: handle.clone(),
            waiters: Vec::new(),
        };
        self.entries.insert(key.clone(), entry);
        Some(handle)
    }

    /// Marks an actor that was about to stop as live. Returns its handle and the callers that waited.
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

    /// Removes a key. Returns the callers that waited for it.
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

    fn roster() -> Activations<u8, &'static str, u32> {
        Activations::new()
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

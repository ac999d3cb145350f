//! The table of rate limit states: bounded, and swept of keys whose limit is fully restored.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use parking_lot::Mutex;

use super::KEYS_MAX;

/// The states of a keyed rate limiter. A full table drops an arbitrary key to admit a new one.
pub(super) struct Table<K>(Arc<Mutex<HashMap<K, Nanos>>>);

impl<K> Default for Table<K> {
    fn default() -> Table<K> {
        Table(Arc::default())
    }
}

impl<K> Clone for Table<K> {
    fn clone(&self) -> Table<K> {
        Table(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq> Table<K> {
    /// Changes the state of a key that was counted before. One that was dropped since stays out.
    pub(super) fn change(&self, key: &K, change: impl FnOnce(u64) -> u64) {
        if let Some(state) = self.0.lock().get_mut(key) {
            *state = Nanos::new(change(state.as_u64()));
        }
    }
}

impl<K: Hash + Eq + Clone> StateStore for Table<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut states = self.0.lock();
        let known = states.get(key).copied();
        let (decided, state) = decide(known)?;
        if known.is_none()
            && states.len() >= KEYS_MAX
            && let Some(any) = states.keys().next().cloned()
        {
            states.remove(&any);
        }
        states.insert(key.clone(), state);
        Ok(decided)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Table<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.lock().retain(|_, state| *state > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.0.lock().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl<K> fmt::Debug for Table<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

//! The directory of the rooms that are live on this node.

use dashmap::DashMap;

use super::handle::{RoomHandle, RoomKey};
use crate::supervisor::{EntryGauge, shard_of};

/// Live rooms by code or by channel. Only the shards add and remove entries.
#[derive(Debug)]
pub(super) struct RoomDirectory {
    rooms: DashMap<RoomKey, RoomHandle>,
    listed: EntryGauge,
}

impl Default for RoomDirectory {
    fn default() -> RoomDirectory {
        RoomDirectory {
            rooms: DashMap::new(),
            listed: EntryGauge::new("room"),
        }
    }
}

impl RoomDirectory {
    pub(super) fn get(&self, key: &RoomKey) -> Option<RoomHandle> {
        self.rooms.get(key).map(|entry| entry.value().clone())
    }

    pub(super) fn enter(&self, key: RoomKey, handle: RoomHandle) {
        self.listed.entered(self.rooms.insert(key, handle));
    }

    pub(super) fn leave(&self, key: &RoomKey) {
        self.listed.left(self.rooms.remove(key));
    }

    /// Removes all entries of one shard, and returns their keys.
    pub(super) fn leave_all(&self, shard: usize) -> Vec<RoomKey> {
        let keys: Vec<_> = self
            .rooms
            .iter()
            .map(|entry| entry.key().clone())
            .filter(|key| shard_of(key) == shard)
            .collect();
        for key in &keys {
            self.leave(key);
        }
        keys
    }

    pub(super) fn all(&self) -> Vec<RoomHandle> {
        self.rooms
            .iter()
            .map(|entry| entry.value().clone())
            .collect()
    }
}

//! Presence: counts members by user, and caches its encoded form until it changes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::wire::{Encoding, PreparedPresence, PresenceResult, PresenceStatsResult};

/// The members of a room that are listed in presence.
#[derive(Debug, Default)]
pub(in crate::room) struct Presence {
    /// Connections of each user.
    users: HashMap<Arc<str>, u32>,
    clients: u32,
    /// The encoded forms that were requested since the last change.
    json: Option<PreparedPresence>,
    protobuf: Option<PreparedPresence>,
}

impl Presence {
    pub(in crate::room) fn enters(&mut self, user: &Arc<str>) {
        self.clients += 1;
        *self.users.entry(Arc::clone(user)).or_default() += 1;
        self.changed();
    }

    pub(in crate::room) fn leaves(&mut self, user: &Arc<str>) {
        self.clients -= 1;
        if let Entry::Occupied(mut entry) = self.users.entry(Arc::clone(user)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        self.changed();
    }

    /// Drops the encoded forms, because a member's info has changed.
    pub(in crate::room) fn changed(&mut self) {
        (self.json, self.protobuf) = (None, None);
    }

    pub(in crate::room) fn stats(&self) -> PresenceStatsResult {
        PresenceStatsResult {
            num_clients: self.clients,
            num_users: u32::try_from(self.users.len()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the encoded form; `now` returns the members if it has to be encoded.
    pub(in crate::room) fn prepared(
        &mut self,
        encoding: Encoding,
        now: impl FnOnce() -> PresenceResult,
    ) -> &PreparedPresence {
        let kept = match encoding {
            Encoding::Json => &mut self.json,
            Encoding::Protobuf => &mut self.protobuf,
        };
        kept.get_or_insert_with(|| PreparedPresence::new(encoding, &now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_two_connections_counts_once_and_for_as_long_as_one_is_left() {
        let mut presence = Presence::default();
        let (ana, ben): (Arc<str>, Arc<str>) = ("ana".into(), "ben".into());
        for user in [&ana, &ana, &ben] {
            presence.enters(user);
        }
        let counts = |presence: &Presence| {
            let stats = presence.stats();
            (stats.num_clients, stats.num_users)
        };
        assert_eq!(counts(&presence), (3, 2));
        presence.leaves(&ana);
        assert_eq!(counts(&presence), (2, 2));
        presence.leaves(&ana);
        presence.leaves(&ben);
        assert_eq!(counts(&presence), (0, 0));
    }

    #[test]
    fn it_is_encoded_once_until_somebody_comes_or_goes() {
        let mut presence = Presence::default();
        let nobody = || PresenceResult {
            presence: std::collections::BTreeMap::new(),
        };
        let never = || -> PresenceResult { unreachable!("it is encoded already") };
        let ana: Arc<str> = "ana".into();
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            presence.prepared(encoding, nobody);
            presence.prepared(encoding, never);
        }
        for change in [Presence::enters, Presence::leaves] {
            change(&mut presence, &ana);
            assert!(presence.json.is_none() && presence.protobuf.is_none());
            presence.prepared(Encoding::Json, nobody);
        }
    }
}

//! Room events that describe a change in a durable stream: stored in the commit of the change, or not at all.

use std::sync::Arc;

use super::{Committed, NewPublication, StreamId};
use crate::clock::HubTime;
use crate::id::RoomId;
use crate::wire::{RoomEvent, hub_tags};

/// The room events of a change, which are committed with it.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub stream: StreamId,
    pub events: Vec<RoomEvent>,
    /// The time of their publications.
    pub time: HubTime,
}

/// An event about a changed session, as stored in a room's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionNews {
    pub room: RoomId,
    pub offset: u64,
    pub publication: NewPublication,
}

/// The offsets of a change's events in their stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    pub first: u64,
    pub last: u64,
}

impl News {
    /// Returns the publications of a change with this answer, under the name that its commit has found.
    pub fn publications(&self, committed: &Committed) -> Vec<NewPublication> {
        let name = committed.name();
        let named = self.events.iter().cloned().map(|event| match name {
            Some(name) => event.named(name),
            None => event,
        });
        named
            .map(|event| NewPublication::of_hub(&event, self.time))
            .collect()
    }
}

impl NewPublication {
    /// Returns the publication of a room event, in the hub's own name.
    pub(super) fn of_hub(event: &RoomEvent, time: HubTime) -> NewPublication {
        let tags = serde_json::to_vec(&*hub_tags()).expect("tags have text keys only");
        NewPublication {
            data: event.to_json(),
            info: None,
            tags: Some(tags.into()),
            time,
        }
    }
}

impl Committed {
    /// Returns the name of the command's user, if it has one.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Committed::Player { name, .. } | Committed::Adopted { name, .. } => Some(name),
            Committed::Told { of, .. } => of.name(),
            Committed::Published { .. }
            | Committed::Ended(_)
            | Committed::AllEnded(_)
            | Committed::Swept(_)
            | Committed::Done => None,
        }
    }

    /// Splits the answer into that of the change alone and the offsets of its events, if it has any.
    pub fn apart(self) -> (Committed, Option<Offsets>) {
        let Committed::Told { of, offsets } = self else {
            return (self, None);
        };
        (*of, Some(offsets))
    }
}

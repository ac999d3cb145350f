//! Room events that describe a change in a durable stream: stored in the commit of the change, or not at all.

use std::fmt;
use std::sync::Arc;

use super::{Committed, NewPublication, StreamId};
use crate::clock::HubTime;
use crate::id::{RoomId, UserId};

/// The room events of a change, which are committed with it.
#[derive(Clone)]
pub struct News {
    pub stream: StreamId,
    pub words: Words,
}

/// The builder of a change's events, called once the name of its user is known.
#[derive(Clone)]
pub struct Words(Arc<WriteWords>);

type WriteWords = dyn Fn(Option<&Arc<str>>) -> Vec<NewPublication> + Send + Sync;

/// A seat of a session that has ended or has become another user's.
#[derive(Debug, Clone)]
pub struct SessionSeat {
    pub stream: StreamId,
    pub number: u16,
    pub team: Option<Arc<str>>,
    pub user: UserId,
    pub user_name: Arc<str>,
}

/// The builder of the event that a room publishes about a changed session, at the given time.
pub type SessionWords = fn(&SessionSeat, HubTime) -> NewPublication;

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

impl Words {
    pub fn new(
        write: impl Fn(Option<&Arc<str>>) -> Vec<NewPublication> + Send + Sync + 'static,
    ) -> Words {
        Words(Arc::new(write))
    }

    /// Returns how many publications there are, which does not depend on the name.
    pub fn count(&self) -> u64 {
        (self.0)(None).len() as u64
    }

    /// Returns the events of a change with this answer.
    pub fn of(&self, committed: &Committed) -> Vec<NewPublication> {
        (self.0)(committed.name())
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "News({:?})", self.stream)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
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

//! What is told of a change in a durable stream: stored in the commit of the change, or not at all.

use std::fmt;
use std::sync::Arc;

use super::{Committed, NewPublication, StreamId};
use crate::clock::HubTime;
use crate::id::{RoomId, UserId};

/// Publications of a durable stream that tell of the change with which they are written.
#[derive(Clone)]
pub struct News {
    pub stream: StreamId,
    pub words: Words,
}

/// What is told, once it is known what the user is called in whose name the change is made.
#[derive(Clone)]
pub struct Words(Arc<WriteWords>);

type WriteWords = dyn Fn(Option<&Arc<str>>) -> Vec<NewPublication> + Send + Sync;

/// A seat of a session that has changed as a whole.
#[derive(Debug, Clone)]
pub struct SessionSeat {
    pub stream: StreamId,
    pub number: u16,
    pub team: Option<Arc<str>>,
    pub user: UserId,
    pub user_name: Arc<str>,
}

/// How the change of a session is told in a room, at this moment.
pub type SessionWords = fn(&SessionSeat, HubTime) -> NewPublication;

/// What a room's stream has of a session that has changed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionNews {
    pub room: RoomId,
    pub offset: u64,
    pub publication: NewPublication,
}

/// Where the news of a change are in their stream.
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

    /// How many publications it takes, whatever the user is called.
    pub fn count(&self) -> u64 {
        (self.0)(None).len() as u64
    }

    /// The publications that tell of a change that was answered with this.
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
    /// What the user is called in whose name the change was made, if it has one.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Committed::Player { name, .. } | Committed::Adopted { name, .. } => Some(name),
            Committed::Told { of, .. } => of.name(),
            Committed::Published { .. }
            | Committed::Ended(_)
            | Committed::Swept(_)
            | Committed::Done => None,
        }
    }

    /// The answer of the change alone, and where its news are if it has some.
    pub fn apart(self) -> (Committed, Option<Offsets>) {
        let Committed::Told { of, offsets } = self else {
            return (self, None);
        };
        (*of, Some(offsets))
    }
}

//! Rooms: who sits where, and who hears what.
//!
//! A room knows no session and no socket. It holds outgoing queues, tells sessions of their seats
//! through a listener, and asks only persistence.
//!
//! Owns: seats, members, the stream of publications, claims that are being written.
//! Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! On failure: rebuilt from the database; a memory stream gets a new epoch, a durable one goes on, and
//! members are told to subscribe again.

mod actor;
mod adoption;
mod attachment;
mod brood;
mod crowd;
mod deed;
mod directory;
mod dormant;
mod doubt;
mod game;
mod halt;
mod handle;
mod history_memory;
mod hold;
mod journal;
mod kept;
mod kind;
mod member;
mod message;
mod metric;
mod news;
mod notice;
mod occupant;
mod past;
mod place;
mod presence;
mod publish;
mod release;
mod repeat;
mod seat;
mod seating;
mod session_change;
mod speech;
mod state;
mod stored;
mod stream;
mod take;
mod unconfigured;
mod view;

pub use brood::{Rooms, channel};
pub use deed::{adopted_words, opened_news, parting_words};
pub use dormant::DormantRoom;
pub use game::Word;
pub use handle::{Claimant, RoomHandle, RoomKey};
pub use journal::Placed;
pub use kind::{DEFAULT_KIND, Kind, Kinds, PRIVATE, USERS};
pub use member::{Peer, Tie};
pub use message::{Asked, Claimed, Grant, Kept, Memo, Question, Sitter, Subscribing};
pub use notice::{ClaimNotice, Epoch, Holding, SeatListener, SeatNews};
pub use seat::refusal;
pub use session_change::SessionTold;
pub use stream::new_epoch;
pub use view::opened_view;

#[cfg(test)]
mod tests;

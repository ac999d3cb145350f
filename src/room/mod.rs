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
mod core;
mod directory;
mod dormant;
mod handle;
mod history_memory;
mod message;
mod metric;
mod registry;
mod rules;
mod seat_event;
mod server_api;
mod unconfigured;
mod view;

pub use self::core::change::{adopted_words, opened_news, parting_words};
pub use self::core::claim::refusal;
pub use self::core::session_change::SessionTold;
pub use self::dormant::DormantRoom;
pub use self::handle::{Claimant, RoomHandle, RoomKey};
pub use self::message::{
    Claimed, ExtendedHold, Grant, Initiator, Question, ResponseRecorder, SeatLookup, Subscribing,
};
pub use self::registry::{Rooms, channel};
pub use self::rules::kind::{DEFAULT_KIND, Kind, Kinds, PRIVATE, USERS};
pub use self::rules::members::{Peer, SubscriptionGuard};
pub use self::rules::publish_queue::StreamPosition;
pub use self::rules::stream::new_epoch;
pub use self::seat_event::{AttachSeq, ClaimNotice, HeldSeat, SeatEvent, SeatListener};
pub use self::server_api::ServerPublication;
pub use self::view::opened_view;

#[cfg(test)]
mod tests;

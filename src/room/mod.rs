//! Rooms: their seats, their members, and their streams of publications.
//!
//! A room knows no session and no socket. It holds the members' outgoing queues, sends seat events to sessions
//! through a listener, and reads and writes through persistence only.
//!
//! Owns: seats, members, the stream of publications, claims that are being written.
//! Supervised by: a shard, one of [`crate::supervisor::SHARDS`].
//! On failure: rebuilt from the database. A memory stream gets a new epoch, a durable one continues, and members are
//! asked to subscribe again.

mod actor;
mod core;
mod directory;
mod dormant;
mod handle;
mod history_memory;
mod message;
mod metric;
mod registry;
mod response;
mod rules;
mod seat_event;
mod server_api;
mod unconfigured;

pub use self::core::seat::claim::refusal;
pub use self::core::seat::session_change::SessionTold;
pub use self::core::stream::change::opened_news;
pub use self::core::view::opened_view;
pub use self::dormant::DormantRoom;
pub use self::handle::{Claimant, RoomHandle, RoomKey, load_refusal};
pub use self::message::{
    Claimed, ExtendedHold, Grant, Initiator, Question, SeatLookup, Subscribing,
};
pub use self::registry::{Rooms, channel};
pub use self::response::{ResponseDraft, ResponseForm};
pub use self::rules::kind::{DEFAULT_KIND, Kind, Kinds, PRIVATE, USERS};
pub use self::rules::members::{Peer, SubscriptionGuard};
pub use self::rules::publish_queue::StreamPosition;
pub use self::rules::stream::new_epoch;
pub use self::seat_event::{AttachSeq, ClaimNotice, HeldSeat, SeatEvent, SeatListener};
pub use self::server_api::ServerPublication;

#[cfg(test)]
mod tests;

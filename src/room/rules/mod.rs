//! The rules of a room: values and decisions with no actor, database, clock or socket in sight.
//!
//! Seats ([`seats`], [`seat`], [`kind`]), members ([`members`], [`presence`], [`write_batching`]), and the
//! stream of publications ([`stream`], [`retention`], [`publish_queue`], [`queued_change`], [`publish_dedup`], [`stored`]).

pub(super) mod kind;
pub(super) mod members;
pub(super) mod presence;
pub(super) mod publish_dedup;
pub(super) mod publish_queue;
pub(super) mod queued_change;
pub(super) mod retention;
pub(super) mod seat;
pub(super) mod seats;
pub(super) mod stored;
pub(super) mod stream;
pub(super) mod write_batching;

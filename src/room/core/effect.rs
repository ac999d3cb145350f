//! The effects of an input: all that a room asks of the world around it, in the order in which it has to happen.
//!
//! The room itself changes nothing but its own state and its members' outgoing queues. Its actor carries the effects
//! out; a test may carry them out as it likes.

use std::time::{Duration, Instant};

use ractor::RpcReplyPort;

use crate::id::{RoomCode, RoomId, SessionId};
use crate::mailbox::answer;
use crate::matchmaking::Supply;
use crate::persistence::{Committed, HistoryWindow, SoftWrite, Write, WriteError};
use crate::room::core::ClaimReply;
use crate::room::core::shutdown::Handout;
use crate::room::message::{Change, Claimed, ExtendedHold, Wake};
use crate::room::rules::publish_queue::{PublishReply, StreamPosition};
use crate::room::seat_event::SeatEvent;
use crate::wire::{
    Failure, HistoryResult, PresenceResult, PresenceStatsResult, Refusal, RoomView, SubscribeResult,
};

#[derive(Debug)]
pub(in crate::room) enum Effect {
    /// Writes a change, requested at `since`; its outcome comes back as an input.
    Write {
        write: Box<Write>,
        change: Change,
        since: Instant,
    },
    /// Queues a write that may be lost.
    Mark(SoftWrite),
    /// Reads the row of a seat after a delay; it comes back as an input.
    ReadSeat {
        after: Duration,
        read: SeatToRead,
    },
    /// Reads the stored history of the stream; it comes back as an input.
    ReadHistory(HistoryWindow),
    /// Sends a seat event to a session.
    Notify(SessionId, SeatEvent),
    /// Sets a timer.
    Wake {
        after: Duration,
        wake: Wake,
    },
    /// Looks at the batch of a crowd again once all other inputs that wait are handled.
    LookAfterCrowd,
    /// Sends the matchmaker the free seats; None removes the room from it.
    Supply(RoomCode, Option<Supply>),
    /// Sends the shard a word about the room's life.
    Shard(Lifecycle),
    Claimed(ClaimReply, Box<Result<Claimed, Refusal>>),
    Published(PublishReply, Result<StreamPosition, Failure>),
    Answer(Box<Answer>),
}

/// A seat whose row is to be read.
#[derive(Debug, Clone, Copy)]
pub(in crate::room) struct SeatToRead {
    pub(in crate::room) code: RoomCode,
    pub(in crate::room) room: RoomId,
    pub(in crate::room) number: u16,
    /// The holder as far as the room knows.
    pub(in crate::room) session: SessionId,
    /// True if the row was gone at the first read.
    pub(in crate::room) is_second: bool,
}

/// A word to the shard about the room's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) enum Lifecycle {
    /// Nothing keeps the room: ask it whether it can stop.
    Idle,
    /// It can be stopped.
    Goes,
    /// It cannot be stopped.
    Stays,
}

/// Makes the enum of all answers, one variant for each type of answer.
macro_rules! answers {
    ($($variant:ident($value:ty),)+) => {
        /// The answer to a request, with the port that it goes to.
        #[derive(Debug)]
        pub(in crate::room) enum Answer {
            $($variant(RpcReplyPort<$value>, $value),)+
        }

        impl Answer {
            /// Sends the answer.
            pub(in crate::room) fn send(self) {
                match self {
                    $(Answer::$variant(port, value) => answer(port, value),)+
                }
            }
        }

        $(impl From<(RpcReplyPort<$value>, $value)> for Answer {
            fn from((port, value): (RpcReplyPort<$value>, $value)) -> Answer {
                Answer::$variant(port, value)
            }
        })+
    };
}

answers! {
    Done(Result<(), Refusal>),
    Served(Result<(), Failure>),
    Taken(Result<Claimed, Refusal>),
    Hold(Result<ExtendedHold, Refusal>),
    Subscribed(Result<Option<SubscribeResult>, Failure>),
    Presence(Result<PresenceResult, Failure>),
    PresenceStats(Result<PresenceStatsResult, Failure>),
    History(Result<HistoryResult, Failure>),
    Handout(Handout),
    View(RoomView),
    Unsubscribed(()),
}

/// Returns the seat event that a session gets with the outcome of a change of its seat, even if the room has failed
/// by then.
pub(in crate::room) fn event_of_outcome(
    room: RoomId,
    change: Change,
    result: &Result<Committed, WriteError>,
) -> Option<(SessionId, SeatEvent)> {
    match (change, result) {
        (Change::Release { session, .. }, Ok(_)) => Some((session, SeatEvent::Released { room })),
        (Change::Release { session, .. }, Err(WriteError::Lost)) => {
            Some((session, SeatEvent::Unsure { room }))
        }
        // The client has no other valid token.
        (
            Change::EndTokens {
                session, tokens, ..
            },
            Ok(_),
        ) => Some((session, SeatEvent::TokensEnded { room, tokens })),
        (
            Change::Claim { .. }
            | Change::Take { .. }
            | Change::Release { .. }
            | Change::Hold { .. }
            | Change::EndTokens { .. }
            | Change::Close
            | Change::Publish
            | Change::RemoveHistory { .. },
            _,
        ) => None,
    }
}

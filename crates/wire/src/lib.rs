//! The messages on a socket as values, with their ids and times. Nothing here performs IO or knows an actor. The
//! daemon and its load generator share this crate.
//!
//! A client sends commands, each with an id. The hub answers a command with a reply of that id, and sends pushes when
//! a room publishes. The protocol is the [Centrifuge client protocol
//! v2](https://centrifugal.dev/docs/transports/client_protocol), in JSON or in Protobuf: a frame holds one or more
//! messages.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod api;
mod close;
mod command;
mod encoding;
mod event;
mod failure;
pub mod id;
mod json;
mod overrides;
mod prepared;
pub mod protobuf;
mod publication;
mod push;
mod reply;
pub mod time;

pub use api::{
    AccountRequest, DEPTH_MAX, Fields, GUEST_NAME, JoinRequest, Joined, KeyedResponse,
    OpenRoomRequest, PlaceView, QuickMatchRequest, RETRY_AFTER, Reason, Refusal, RoomStatus,
    RoomView, SETTINGS_BYTES_MAX, SeatStatus, SeatView, SessionReport, SessionView, StoredForm,
    UserView, WORD_BYTES_MAX, Whole, WholeNumber, command_key, is_deeper_than, room_code,
};
pub use close::{Close, Dismissal};
pub use command::{
    COMMANDS_PER_FRAME_MAX, Command, ConnectRequest, FrameError, HistoryRequest, Position, Request,
    SubscribeRequest,
};
pub use encoding::{Encoding, Frame, Shared};
pub use event::{CloseReason, ReleaseReason, RoomEvent, SeatEventBody, whole_seconds};
pub use failure::{ErrorCode, Failure};
pub use json::one_line;
pub use overrides::Overrides;
pub use prepared::PreparedPresence;
pub use publication::{ClientInfo, Publication, Tags, hub_tags, raw_json};
pub use push::{Push, push};
pub use reply::{
    CommandResult, ConnectResult, Empty, HistoryResult, PingResult, PresenceResult,
    PresenceStatsResult, PublishResult, RefreshResult, RpcResult, SubRefreshResult,
    SubscribeResult, UnsubscribeResult, failure, result,
};

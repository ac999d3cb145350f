//! What travels on a socket, as values. Nothing here performs IO.
//!
//! A client sends commands, each with an id; the hub answers each with a reply of that id, and sends
//! pushes whenever a room speaks. The protocol is the Centrifuge client protocol v2, in JSON or in
//! Protobuf: a frame holds one or more messages.

mod close;
mod command;
mod encoding;
mod failure;
mod json;
mod overrides;
mod prepared;
pub mod protobuf;
mod publication;
mod push;
mod refusal;
mod reply;
mod request;
mod view;
mod whole;

pub use close::{Close, Dismissal};
pub use command::{
    COMMANDS_PER_FRAME_MAX, Command, ConnectRequest, FrameError, HistoryRequest, Position, Request,
    SubscribeRequest,
};
pub use encoding::{Encoding, Frame, Shared};
pub use failure::{ErrorCode, Failure};
pub use json::one_line;
pub use overrides::Overrides;
pub use prepared::PreparedPresence;
pub use publication::{ClientInfo, Publication, Tags, hub_tags, raw_json};
pub use push::{Push, push};
pub use refusal::{RETRY_AFTER, Reason, Refusal};
pub use reply::{
    CommandResult, ConnectResult, Empty, HistoryResult, PingResult, PresenceResult,
    PresenceStatsResult, PublishResult, RefreshResult, RpcResult, SubRefreshResult,
    SubscribeResult, UnsubscribeResult, failure, result,
};
pub use request::{
    AccountRequest, DEPTH_MAX, Fields, GUEST_NAME, JoinRequest, OpenRoomRequest, QuickMatchRequest,
    SETTINGS_BYTES_MAX, WORD_BYTES_MAX, command_key, is_deeper_than, room_code,
};
pub use view::{PlaceView, RoomStatus, RoomView, SeatStatus, SeatView, SessionView, UserView};
pub use whole::{Whole, WholeNumber};

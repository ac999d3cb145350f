//! What travels on a socket, as values. Nothing here performs IO.
//!
//! A client sends commands, each with an id; the hub answers each with a reply of that id, and sends
//! pushes whenever a room speaks. The protocol is the Centrifuge client protocol v2 in JSON: a frame
//! holds one or more objects, one a line.

mod close;
mod command;
mod failure;
mod refusal;
mod reply;
mod request;
mod view;

pub use close::Close;
pub use command::{
    COMMANDS_PER_FRAME_MAX, Command, ConnectRequest, FrameError, HistoryRequest, Position, Request,
    SubscribeRequest, decode_json,
};
pub use failure::{ErrorCode, Failure};
pub use refusal::{RETRY_AFTER, Reason, Refusal};
pub use reply::{
    ClientInfo, ConnectResult, ConnectionInfo, Empty, Frame, HistoryResult, PING, PresenceResult,
    PresenceStatsResult, Publication, RpcResult, SeatInfo, SubscribeResult, failure,
    publication_push, result, unsubscribe_push,
};
pub use request::{
    AccountRequest, DEPTH_MAX, Fields, GUEST_NAME, JoinRequest, OpenRoomRequest, QuickMatchRequest,
    SETTINGS_BYTES_MAX, WORD_BYTES_MAX, is_deeper_than, room_code,
};
pub use view::{PlaceView, RoomStatus, RoomView, SeatStatus, SeatView, SessionView, UserView};

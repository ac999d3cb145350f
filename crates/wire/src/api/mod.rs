//! Requests, refusals and views, which are the same on a socket, over HTTP and between services.

pub(crate) mod refusal;
mod request;
mod response;
mod view;
pub(crate) mod whole;

pub use refusal::{RETRY_AFTER, Reason, Refusal};
pub use request::{
    AccountRequest, DEPTH_MAX, Fields, GUEST_NAME, JoinRequest, OpenRoomRequest, QuickMatchRequest,
    SETTINGS_BYTES_MAX, WORD_BYTES_MAX, command_key, is_deeper_than, room_code,
};
pub use response::{Joined, KeyedResponse, SessionReport, StoredForm};
pub use view::{PlaceView, RoomStatus, RoomView, SeatStatus, SeatView, SessionView, UserView};
pub use whole::{Whole, WholeNumber};

//! What travels on a socket, as values. Nothing here performs IO.

mod refusal;
mod view;

pub use refusal::{RETRY_AFTER, Reason, Refusal};
pub use view::{PlaceView, RoomStatus, RoomView, SeatStatus, SeatView, SessionView, UserView};

//! Keeping a seat for longer, which only the game's own server may ask for.

use std::time::Duration;

use super::actions::{Actions, room_not_found, unanswered};
use super::opening::check_hold;
use crate::id::RoomCode;
use crate::room::RoomKey;
use crate::wire::{Refusal, SeatView};

impl Actions {
    /// Keeps an away seat at least so long from now: asked twice, it is kept no longer than once. A seat
    /// that is held has no hold that runs, and is left as it is.
    ///
    /// # Errors
    /// ROOM_NOT_FOUND, SEAT_NOT_FOUND if nobody holds it, BAD_REQUEST, UNAVAILABLE.
    pub async fn hold_seat(
        &self,
        code: RoomCode,
        seat: u16,
        at_least: Duration,
    ) -> Result<SeatView, Refusal> {
        self.check_open()?;
        check_hold("seconds", at_least, self.hold_max(), "session.ttl")?;
        let holding = self
            .rooms
            .ask(&RoomKey::Code(code), |room| async move {
                room.hold(seat, at_least).await
            })
            .await
            .map_err(unanswered)?
            .ok_or_else(room_not_found)??;
        Ok(holding.view(self.now()))
    }

    /// A hold outlives no session.
    pub(super) fn hold_max(&self) -> Duration {
        self.sessions.context().ttl
    }
}

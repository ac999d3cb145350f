//! Open rooms that are not live: they are started, or they end without an actor if their
//! kind is no longer configured.

use super::handle::RoomKey;
use super::registry::Rooms;
use super::seat_event::SeatEvent;
use crate::id::RoomCode;
use crate::persistence::{
    ReleaseSeat, RoomCommand, SeatCommand, StoredRoom, StoredSeat, WriteError,
};
use crate::supervisor::LoadError;

impl Rooms {
    /// Takes care of an open room that is not live. A room of a configured kind is started, and closes when it has
    /// been empty for long enough. A room of an unknown kind cannot start: its seats are released when their holds
    /// end, and then it is closed.
    pub async fn look_after(&self, code: RoomCode) -> Result<(), LoadError> {
        if self.find(&RoomKey::Code(code)).await?.is_some() {
            return Ok(());
        }
        let stored = self.context().persistence.room_by_code(code).await;
        let Some(mut room) = stored? else {
            return Ok(());
        };
        if room.is_closed || self.kinds().get(&room.kind).is_some() {
            return Ok(());
        }
        self.release_what_is_over(&mut room).await;
        if room.seats.is_empty() {
            let closed = self
                .context()
                .persistence
                .write(RoomCommand::Close(room.id));
            if let Err(error) = closed.await {
                tracing::debug!(room = %code, %error, "a room could not be closed, trying again in the next round");
            }
        }
        Ok(())
    }

    async fn release_what_is_over(&self, room: &mut StoredRoom) {
        let now = self.context().clock.now();
        let mut kept = Vec::new();
        for seat in std::mem::take(&mut room.seats) {
            let is_over = seat.hold_until.is_some_and(|end| end <= now);
            if !is_over || self.release_stored(&seat).await.is_err() {
                kept.push(seat);
            }
        }
        room.seats = kept;
    }

    async fn release_stored(&self, seat: &StoredSeat) -> Result<(), WriteError> {
        let release = SeatCommand::Release(ReleaseSeat {
            room: seat.room,
            seat: seat.number,
            session: seat.session,
            hold_until: seat.hold_until,
        });
        self.context().persistence.write(release).await?;
        super::metric::count_release(crate::wire::ReleaseReason::HoldOver);
        let (session, room) = (seat.session, seat.room);
        let released = SeatEvent::Released { room };
        self.context().listener.hear(session, released);
        Ok(())
    }
}

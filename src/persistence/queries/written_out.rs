//! The memory streams that the last planned stop wrote out, until their rooms continue them.
//!
//! A start reads none of them: each room reads its own history when it is started. From then on its stream moves on
//! in memory, so its stored rows are never read again. The sweep removes them.

use std::collections::HashSet;
use std::sync::Arc;

use sea_orm::DbErr;
use uuid::Uuid;

use super::read;
use crate::id::RoomId;
use crate::persistence::database::publication_rows::{offset, written_out, written_out_of};
use crate::persistence::{Persistence, ReadError, StoredRoom, StoredStream};

/// Rooms that one query reads.
const PAGE: usize = 1024;

/// The streams that continue as they were written out.
#[derive(Debug, Default)]
pub(crate) struct WrittenOut {
    /// True if the last run stopped as planned.
    is_clean: bool,
    /// The rooms that were started from their rows in this run: no more than there were at its start.
    started: HashSet<RoomId>,
}

impl WrittenOut {
    pub(crate) fn begin(&mut self, is_clean: bool) {
        self.is_clean = is_clean;
        self.started.clear();
    }

    fn awaits(&self, room: RoomId) -> bool {
        self.is_clean && !self.started.contains(&room)
    }

    fn is_taken_up(&self, room: &StoredRoom) -> bool {
        let stream = &room.stream;
        let has_been_written = !stream.is_durable && !stream.epoch.is_empty() && !room.is_closed;
        has_been_written && self.awaits(room.id)
    }
}

impl Persistence {
    /// Adds to a room the history that a planned stop wrote out, if the room has not been started since.
    pub async fn take_up(&self, room: &mut StoredRoom) -> Result<(), ReadError> {
        if !self.shared.written_out.lock().is_taken_up(room) {
            return Ok(());
        }
        let (readers, id) = (self.readers(), room.id);
        let epoch = Arc::clone(&room.stream.epoch);
        let read = self.read(async move { written_out(&readers, id, &epoch).await });
        room.stream.publications = read.await?;
        room.stream.is_continued = true;
        Ok(())
    }

    /// Does the same as [`take_up`](Self::take_up) for many rooms, most of them with one query.
    pub(crate) async fn take_up_all(&self, rooms: &mut [StoredRoom]) -> Result<(), ReadError> {
        let awaited: Vec<(RoomId, Arc<str>)> = {
            let written_out = self.shared.written_out.lock();
            let awaited = rooms.iter().filter(|room| written_out.is_taken_up(room));
            let stream = |room: &StoredRoom| (room.id, Arc::clone(&room.stream.epoch));
            awaited.map(stream).collect()
        };
        if awaited.is_empty() {
            return Ok(());
        }
        let readers = self.readers();
        let read = self.read(async move { written_out_of(&readers, &awaited).await });
        let mut histories = read.await?;
        for room in rooms {
            match histories.remove(&room.id) {
                Some(Some(history)) => {
                    room.stream.publications = history;
                    room.stream.is_continued = true;
                }
                // Its history is too large for the shared query.
                Some(None) => self.take_up(room).await?,
                None => {}
            }
        }
        Ok(())
    }

    /// Records that a room is about to be started from its row: its stream moves on from here.
    pub fn room_starts(&self, room: RoomId) {
        let mut written_out = self.shared.written_out.lock();
        if written_out.is_clean {
            written_out.started.insert(room);
        }
    }

    /// Returns whether a room has not been started since a planned stop wrote its stream out.
    pub fn is_stream_awaited(&self, room: RoomId) -> bool {
        self.shared.written_out.lock().awaits(room)
    }

    /// Returns the streams that stay as they were written out, because their rooms were not started in this run.
    /// Their publications are in the database already, and are not read.
    pub async fn untouched_streams(&self) -> Result<Vec<(RoomId, StoredStream)>, ReadError> {
        let mut streams = Vec::new();
        let mut after = Uuid::nil();
        if !self.shared.written_out.lock().is_clean {
            return Ok(streams);
        }
        loop {
            let readers = self.readers();
            let page = self.read(async move { open_streams(&readers, after).await });
            let page = page.await?;
            let is_last = page.len() < PAGE;
            if let Some((room, _)) = page.last() {
                after = room.0;
            }
            let written_out = self.shared.written_out.lock();
            streams.extend(
                page.into_iter()
                    .filter(|(room, _)| written_out.awaits(*room)),
            );
            if is_last {
                return Ok(streams);
            }
        }
    }
}

/// Reads a page of the memory streams of open rooms that have been written out.
async fn open_streams(
    readers: &sea_orm::DatabaseConnection,
    after: Uuid,
) -> Result<Vec<(RoomId, StoredStream)>, DbErr> {
    let sql = format!(
        "SELECT id, stream_epoch, stream_top FROM rooms WHERE id > $1 AND closed_at IS NULL \
         AND NOT stream_durable AND stream_epoch <> '' ORDER BY id LIMIT {PAGE}"
    );
    let rows = read::all(readers, &sql, [after.into()]).await?;
    let streams = rows.iter().map(|row| {
        let stream = StoredStream {
            epoch: row.try_get_by_index::<String>(1)?.into(),
            top: offset(row.try_get_by_index(2)?),
            is_continued: true,
            ..StoredStream::default()
        };
        Ok((RoomId(row.try_get_by_index(0)?), stream))
    });
    streams.collect()
}

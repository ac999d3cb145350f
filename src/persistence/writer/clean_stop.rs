//! The planned end of a run: memory histories are written out in many small commits, and the last one marks the stop.
//!
//! Without that mark the rows are worthless: a stop that dies half way leaves the same as a crash. Each step is
//! idempotent, and is retried until it is done. No timeout limits the whole: the caller watches the progress, and
//! gives up when there is none.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement};
use tokio::sync::{oneshot, watch};
use tracing::warn;
use uuid::Uuid;

use super::commit::{Committer, flattened};
use super::downtime::write_clock;
use super::progress::Progress;
use crate::clock::HubTime;
use crate::id::RoomId;
use crate::persistence::database::backoff::Backoff;
use crate::persistence::database::error::{Class, classify};
use crate::persistence::database::publication_rows::{Insert, stored_offset};
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::database::transaction::begin;
use crate::persistence::{StoredStream, WriteError};

/// Rooms whose histories share one commit, so that a commit stays small where histories are short.
const PIECE_ROOMS: usize = 1024;

/// Publications after which a commit takes no further room: enough for four statements.
const PIECE_PUBLICATIONS: usize = 1024;

/// Bytes after which a commit takes no further room. A room has 256 KiB by default.
const PIECE_BYTES: usize = 4 << 20;

/// Rooms that one transaction searches for those that were left out.
const PAGE: i64 = 2048;

const STREAM: Columns = &[
    ("room_id", Type::Uuid),
    ("epoch", Type::Text),
    ("top", Type::Int),
];

const ROOM: Columns = &[("id", Type::Uuid)];

/// The work of a planned stop.
pub(crate) struct CleanStop {
    pub(crate) streams: Vec<(RoomId, StoredStream)>,
    /// When players could no longer come back: no hold is charged for the time after it.
    pub(crate) since: HubTime,
    /// Counts commits.
    pub(crate) progress: watch::Sender<u64>,
}

type Reply = oneshot::Sender<Result<(), WriteError>>;

/// A planned stop that the writer works on.
struct Stopping<'a> {
    streams: Arc<[(RoomId, StoredStream)]>,
    progress: watch::Sender<u64>,
    reply: &'a Reply,
}

impl Stopping<'_> {
    fn advance(&self) {
        self.progress.send_modify(|commits| *commits += 1);
    }

    /// Returns whether the caller has given the stop up.
    fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }
}

impl Committer {
    pub(crate) async fn clean_stop(&mut self, stop: CleanStop, reply: Reply) {
        let stopped = self.write_out(stop, &reply).await;
        // Without a receiver the stop has been given up.
        let _ = reply.send(stopped);
    }

    async fn write_out(&mut self, stop: CleanStop, reply: &Reply) -> Result<(), WriteError> {
        let stopping = Stopping {
            streams: stop.streams.into(),
            progress: stop.progress,
            reply,
        };
        // Coalesced writes first: they are part of what the next run finds.
        self.write_all_marks(&stopping).await?;
        for piece in pieces(&stopping.streams) {
            let streams = Arc::clone(&stopping.streams);
            let step = move |connection, progress| {
                write_histories(connection, Arc::clone(&streams), piece.clone(), progress)
            };
            self.insist(&stopping, step).await?;
        }
        let written: HashSet<RoomId> = stopping.streams.iter().map(|(room, _)| *room).collect();
        let written = Arc::new(written);
        let mut after = Some(Uuid::nil());
        while let Some(from) = after {
            let written = Arc::clone(&written);
            let step = move |connection, progress| {
                end_left_out(connection, Arc::clone(&written), from, stop.since, progress)
            };
            after = self.insist(&stopping, step).await?;
        }
        Ok(())
    }

    async fn write_all_marks(&mut self, stopping: &Stopping<'_>) -> Result<(), WriteError> {
        let mut backoff = Backoff::new();
        while self.shared.marks.are_waiting() {
            if self.commit(Vec::new()).await {
                stopping.advance();
                backoff = Backoff::new();
            } else if stopping.is_given_up() {
                return Err(WriteError::Lost);
            } else {
                backoff.wait().await;
            }
        }
        Ok(())
    }

    /// Retries a step until it is committed, permanently refused, or given up.
    async fn insist<T, F>(
        &mut self,
        stopping: &Stopping<'_>,
        step: impl Fn(DatabaseConnection, Progress) -> F,
    ) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        let mut backoff = Backoff::new();
        loop {
            if self.shared.lock.is_held() {
                let progress = Progress::default();
                let work = step(self.writer.connection().clone(), progress.clone());
                match flattened(self.writer.guarded_while(progress, work).await) {
                    Ok(done) => {
                        stopping.advance();
                        return Ok(done);
                    }
                    Err(error) => {
                        warn!(%error, "a step of the planned stop was not stored");
                        self.writer.look_after_connection(&error).await;
                        if classify(&error) == Class::Permanent {
                            return Err(WriteError::Lost);
                        }
                    }
                }
            }
            if stopping.is_given_up() {
                return Err(WriteError::Lost);
            }
            backoff.wait().await;
        }
    }
}

/// Cuts the streams into ranges, each of which makes a commit of a bounded size. A room is never split.
fn pieces(streams: &[(RoomId, StoredStream)]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let (mut start, mut count, mut bytes) = (0, 0, 0);
    for (index, (_, stream)) in streams.iter().enumerate() {
        count += stream.publications.len();
        bytes += stream
            .publications
            .iter()
            .map(|one| one.data.len())
            .sum::<usize>();
        let end = index + 1;
        if end - start >= PIECE_ROOMS || count >= PIECE_PUBLICATIONS || bytes >= PIECE_BYTES {
            pieces.push(start..end);
            (start, count, bytes) = (end, 0, 0);
        }
    }
    if start < streams.len() {
        pieces.push(start..streams.len());
    }
    pieces
}

/// Writes out the histories and the stream positions of some rooms.
async fn write_histories(
    writer: DatabaseConnection,
    streams: Arc<[(RoomId, StoredStream)]>,
    piece: Range<usize>,
    progress: Progress,
) -> Result<(), DbErr> {
    let transaction = begin(&writer).await?;
    progress.step();
    let mut tops = Rows::new(STREAM);
    let mut publications = Insert::written_out();
    for (room, stream) in &streams[piece] {
        tops.push([
            room.0.into(),
            (&*stream.epoch).into(),
            stored_offset(stream.top),
        ]);
        for publication in &stream.publications {
            publications
                .push(&transaction, *room, &stream.epoch, publication)
                .await?;
            progress.step();
        }
    }
    publications.flush(&transaction).await?;
    progress.step();
    tops.execute(
        &transaction,
        "UPDATE rooms SET stream_epoch = v.epoch, stream_top = v.top FROM v \
         WHERE rooms.id = v.room_id AND NOT rooms.stream_durable",
    )
    .await?;
    progress.step();
    transaction.commit().await
}

/// Ends the memory streams of open rooms that are not among the `written`, for one page of rooms: none may continue
/// under an epoch whose offsets it has used. Returns the id after which the next page begins; the last page marks the
/// stop.
async fn end_left_out(
    writer: DatabaseConnection,
    written: Arc<HashSet<RoomId>>,
    after: Uuid,
    since: HubTime,
    progress: Progress,
) -> Result<Option<Uuid>, DbErr> {
    let transaction = begin(&writer).await?;
    progress.step();
    let (left_out, next) = page(&transaction, &written, after).await?;
    progress.step();
    let is_unchanged = left_out.is_empty();
    let sql = "UPDATE rooms SET stream_epoch = '', stream_top = 0 FROM v WHERE rooms.id = v.id";
    left_out.execute(&transaction, sql).await?;
    progress.step();
    if next.is_none() {
        write_clock(&transaction, since, true).await?;
    } else if is_unchanged {
        transaction.rollback().await?;
        return Ok(next);
    }
    transaction.commit().await?;
    Ok(next)
}

/// Reads one page of rooms, and returns the open ones whose memory stream was not written out.
async fn page(
    transaction: &DatabaseTransaction,
    written: &HashSet<RoomId>,
    after: Uuid,
) -> Result<(Rows, Option<Uuid>), DbErr> {
    let sql = format!(
        "SELECT id, (closed_at IS NULL AND NOT stream_durable AND stream_epoch <> '') \
         FROM rooms WHERE id > $1 ORDER BY id LIMIT {PAGE}"
    );
    let backend = transaction.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [after.into()]);
    let found = transaction.query_all_raw(statement).await?;
    let mut left_out = Rows::new(ROOM);
    let mut last = None;
    for row in &found {
        let id: Uuid = row.try_get_by_index(0)?;
        if row.try_get_by_index(1)? && !written.contains(&RoomId(id)) {
            left_out.push([id.into()]);
        }
        last = Some(id);
    }
    let is_full = i64::try_from(found.len()).is_ok_and(|count| count >= PAGE);
    Ok((left_out, last.filter(|_| is_full)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::StoredPublication;

    fn streams(count: usize, publications: usize, bytes: usize) -> Vec<(RoomId, StoredStream)> {
        let publication = |offset| StoredPublication {
            offset,
            data: vec![b' '; bytes].into(),
            info: None,
            tags: None,
            time: HubTime(0),
        };
        let stream = StoredStream {
            epoch: "e".into(),
            top: publications as u64,
            is_continued: true,
            is_durable: false,
            publications: (1..=publications as u64).map(publication).collect(),
        };
        (0..count)
            .map(|_| (RoomId::new(), stream.clone()))
            .collect()
    }

    #[test]
    fn a_commit_takes_a_bounded_number_of_rooms_and_publications_and_bytes() {
        assert_eq!(
            pieces(&streams(2500, 0, 0)),
            [0..1024, 1024..2048, 2048..2500]
        );
        assert_eq!(pieces(&streams(5, 600, 1)), [0..2, 2..4, 4..5]);
        assert_eq!(pieces(&streams(3, 1, 5 << 20)), [0..1, 1..2, 2..3]);
        assert!(pieces(&[]).is_empty());
    }
}

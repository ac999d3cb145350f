//! Publications as rows: written in batches, read back from the newest.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult, Statement, Value,
};

use super::rows::{Columns, Rows, Type};
use crate::clock::HubTime;
use crate::id::RoomId;
use crate::persistence::{HistoryWindow, StoredPublication};

/// Publications in one statement, if they are small.
const PER_STATEMENT: usize = 256;

/// The bytes after which a statement takes no further publication, so that sending it is short even over a slow link.
const STATEMENT_BYTES: usize = 1 << 20;

/// Publications of many rooms read by one query: 64 MiB of the largest messages that a kind allows by default.
const WRITTEN_OUT_MAX: usize = 4096;

const STREAM: Columns = &[("room_id", Type::Uuid), ("epoch", Type::Text)];

/// Publications read by one query: few enough to stop early, enough to read a whole history cheaply.
const PAGE: usize = 256;

const COLUMNS: Columns = &[
    ("room_id", Type::Uuid),
    ("epoch", Type::Text),
    ("offset_", Type::Int),
    ("data", Type::Bytes),
    ("info", Type::BytesOrNull),
    ("tags", Type::BytesOrNull),
    ("at", Type::Int),
];

/// A batch of publications to insert.
pub(crate) struct Insert {
    rows: Rows,
    bytes: usize,
    sql: &'static str,
}

impl Insert {
    /// Starts a batch for durable streams: two publications with one offset would be a bug, and fail.
    pub(crate) fn durable() -> Insert {
        Insert {
            rows: Rows::new(COLUMNS),
            bytes: 0,
            sql: "INSERT INTO room_publications \
                  (room_id, epoch, \"offset\", data, info, tags, time) \
                  SELECT room_id, epoch, offset_, data, info, tags, at FROM v",
        }
    }

    /// Starts a batch for memory streams, at a planned stop. Publications of rooms that are gone are left out.
    pub(crate) fn written_out() -> Insert {
        Insert {
            rows: Rows::new(COLUMNS),
            bytes: 0,
            sql: "INSERT INTO room_publications \
                  (room_id, epoch, \"offset\", data, info, tags, time) \
                  SELECT v.room_id, v.epoch, v.offset_, v.data, v.info, v.tags, v.at \
                  FROM v JOIN rooms ON rooms.id = v.room_id \
                  WHERE NOT rooms.stream_durable ON CONFLICT DO NOTHING",
        }
    }

    /// Adds a publication, and writes the batch when it is large enough for a statement.
    pub(crate) async fn push(
        &mut self,
        transaction: &DatabaseTransaction,
        room: RoomId,
        epoch: &str,
        publication: &StoredPublication,
    ) -> Result<(), DbErr> {
        self.rows.push([
            room.0.into(),
            epoch.into(),
            stored_offset(publication.offset),
            publication.data.to_vec().into(),
            publication.info.as_ref().map(|info| info.to_vec()).into(),
            publication.tags.as_ref().map(|tags| tags.to_vec()).into(),
            publication.time.0.into(),
        ]);
        self.bytes += publication.data.len();
        if self.rows.len() >= PER_STATEMENT || self.bytes >= STATEMENT_BYTES {
            self.flush(transaction).await?;
        }
        Ok(())
    }

    /// Writes the rest of the batch.
    pub(crate) async fn flush(&mut self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        let full = std::mem::replace(&mut self.rows, Rows::new(COLUMNS));
        self.bytes = 0;
        full.execute(transaction, self.sql).await?;
        Ok(())
    }
}

/// Reads a window of a durable stream, page by page from its newest publication back, and returns it in order.
pub(crate) async fn recent(
    readers: &DatabaseConnection,
    window: &HistoryWindow,
) -> Result<Vec<StoredPublication>, DbErr> {
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut next = window.top;
    'pages: while next > 0 && found.len() < window.count_max {
        let page = page(readers, window, next).await?;
        let is_last = page.len() < PAGE;
        for row in page {
            let publication = publication(&row, 0)?;
            bytes += publication.data.len();
            if publication.offset != next
                || bytes > window.bytes_max
                || found.len() == window.count_max
            {
                break 'pages;
            }
            next -= 1;
            found.push(publication);
        }
        if is_last {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Reads the histories that a planned stop wrote out for these memory streams, as far as one query has room. The
/// value is None for a room that may have more.
pub(crate) async fn written_out_of(
    readers: &DatabaseConnection,
    streams: &[(RoomId, Arc<str>)],
) -> Result<HashMap<RoomId, Option<Vec<StoredPublication>>>, DbErr> {
    let mut rows = Rows::new(STREAM);
    for (room, epoch) in streams {
        rows.push([room.0.into(), (&**epoch).into()]);
    }
    // CROSS, or SQLite walks the whole table, which is already in the order of the result.
    let sql = format!(
        "SELECT p.room_id, p.\"offset\", p.data, p.info, p.tags, p.time \
         FROM v CROSS JOIN room_publications p WHERE p.room_id = v.room_id AND p.epoch = v.epoch \
         ORDER BY p.room_id, p.\"offset\" LIMIT {WRITTEN_OUT_MAX}"
    );
    let found = rows.look(readers, &sql).await?;
    let is_all = found.len() < WRITTEN_OUT_MAX;
    let mut histories: HashMap<_, _> = streams
        .iter()
        .map(|(room, _)| (*room, Some(Vec::new())))
        .collect();
    let mut last = None;
    for row in &found {
        let room = RoomId(row.try_get_by_index(0)?);
        last = Some(room);
        if let Some(Some(history)) = histories.get_mut(&room) {
            history.push(publication(row, 1)?);
        }
    }
    for (room, history) in &mut histories {
        if !is_all && last.is_none_or(|last| *room >= last) {
            *history = None;
        }
    }
    Ok(histories)
}

/// Reads the history that a planned stop wrote out for a memory stream, page by page and in order.
pub(crate) async fn written_out(
    readers: &DatabaseConnection,
    room: RoomId,
    epoch: &str,
) -> Result<Vec<StoredPublication>, DbErr> {
    let sql = format!(
        "SELECT \"offset\", data, info, tags, time FROM room_publications \
         WHERE room_id = $1 AND epoch = $2 AND \"offset\" > $3 ORDER BY \"offset\" LIMIT {PAGE}"
    );
    let backend = readers.get_database_backend();
    let mut found: Vec<StoredPublication> = Vec::new();
    loop {
        let last = found.last().map_or(0, |last| last.offset);
        let values = [room.0.into(), epoch.into(), stored_offset(last)];
        let statement = Statement::from_sql_and_values(backend, &sql, values);
        let rows = readers.query_all_raw(statement).await?;
        for row in &rows {
            found.push(publication(row, 0)?);
        }
        if rows.len() < PAGE {
            return Ok(found);
        }
    }
}

async fn page(
    readers: &DatabaseConnection,
    window: &HistoryWindow,
    newest: u64,
) -> Result<Vec<QueryResult>, DbErr> {
    let sql = format!(
        "SELECT \"offset\", data, info, tags, time FROM room_publications \
         WHERE room_id = $1 AND epoch = $2 AND \"offset\" <= $3 AND time >= $4 \
         ORDER BY \"offset\" DESC LIMIT {PAGE}"
    );
    let values = [
        window.room.0.into(),
        (&*window.epoch).into(),
        stored_offset(newest),
        window.since.0.into(),
    ];
    let backend = readers.get_database_backend();
    readers
        .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await
}

/// Reads offset, data, info, tags and time of a publication, which begin at column `first`.
pub(crate) fn publication(row: &QueryResult, first: usize) -> Result<StoredPublication, DbErr> {
    let optional =
        |index: usize| -> Result<Option<Vec<u8>>, DbErr> { row.try_get_by_index(first + index) };
    Ok(StoredPublication {
        offset: offset(row.try_get_by_index(first)?),
        data: row.try_get_by_index::<Vec<u8>>(first + 1)?.into(),
        info: optional(2)?.map(Into::into),
        tags: optional(3)?.map(Into::into),
        time: HubTime(row.try_get_by_index(first + 4)?),
    })
}

/// Converts a stored offset: the database has no unsigned numbers.
pub(crate) fn offset(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

pub(crate) fn stored_offset(offset: u64) -> Value {
    i64::try_from(offset).unwrap_or(i64::MAX).into()
}

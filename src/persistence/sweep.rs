//! Sweeping: expired rows are found by reads, page by page, and removed by the writer, a bounded number at a time.
//! The writer checks each row again before it removes it.

use uuid::Uuid;

use super::queries::read;
use super::{Committed, MaintenanceCommand, Persistence, ReadError, Refused, WriteError};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId};

/// Rows read by one query, and sessions or rooms removed by one command.
const PAGE: u64 = 100;

/// The removal of rows that had expired at a moment, a bounded number of each kind. A row that is in use stays.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub what: ExpiredRows,
    /// Rows that ended, expired, closed or were written earlier are removed.
    pub before: HubTime,
}

/// The rows to sweep.
#[derive(Debug, Clone)]
pub enum ExpiredRows {
    /// Sessions without a seat, with their tokens and idempotency keys, and guests who have nothing else.
    Sessions(Vec<SessionId>),
    /// Closed rooms, once their publications and participants are gone; also the guests among the participants.
    Rooms(Vec<RoomId>),
    /// Histories that planned stops wrote out for memory streams of these rooms, which have moved on since.
    Histories(Vec<RoomId>),
    Keys,
    /// The ids of transactions whose outcome no writer will ask for.
    Groups,
}

/// The number of rows removed, by table.
pub type Swept = Vec<(&'static str, u64)>;

/// The result of one page of rooms.
#[derive(Debug)]
pub struct RoomPage {
    /// Rooms that closed before the given moment.
    pub dead: Vec<(RoomId, RoomCode)>,
    /// Open rooms, except very new ones.
    pub open: Vec<RoomCode>,
    /// Rooms with a memory stream that has stored publications.
    pub written_out: Vec<RoomId>,
    /// The id after which the next page begins. None at the end.
    pub next: Option<Uuid>,
}

/// The result of one page of a table.
#[derive(Debug)]
pub struct Page<T> {
    /// Rows that may be swept.
    pub dead: Vec<T>,
    /// The id after which the next page begins. None at the end.
    pub next: Option<Uuid>,
}

impl Persistence {
    /// Returns the sessions of one page that ended or expired before a moment and have no seat.
    pub async fn dead_sessions(
        &self,
        after: Uuid,
        before: HubTime,
    ) -> Result<Page<SessionId>, ReadError> {
        // `ended_at` is NULL for a session that has not ended, so its expiry counts.
        let sql = format!(
            "SELECT s.id, COALESCE(s.ended_at, s.expires_at) < $2 AND NOT EXISTS \
             (SELECT 1 FROM room_seats r WHERE r.session_id = s.id) AS is_dead \
             FROM app_sessions s WHERE s.id > $1 ORDER BY s.id LIMIT {PAGE}"
        );
        let readers = self.readers();
        self.read(async move {
            let rows = read::all(&readers, &sql, [after.into(), before.0.into()]).await?;
            let is_full = rows.len() as u64 >= PAGE;
            let last = rows.last().map(|row| row.try_get_by_index(0)).transpose()?;
            let mut dead = Vec::new();
            for row in &rows {
                if row.try_get_by_index(1)? {
                    dead.push(SessionId(row.try_get_by_index(0)?));
                }
            }
            Ok(Page {
                dead,
                next: last.filter(|_| is_full),
            })
        })
        .await
    }

    /// Returns the rooms of one page, by what there is to do: those closed before one moment, those open since before
    /// another, and those with a written-out history to sweep.
    pub async fn rooms_after(
        &self,
        after: Uuid,
        closed_before: HubTime,
        opened_before: HubTime,
    ) -> Result<RoomPage, ReadError> {
        let readers = self.readers();
        self.read(async move {
            let sql = format!(
                "SELECT id, code, COALESCE(closed_at < $2, false), closed_at IS NULL AND created_at < $3, \
                 NOT stream_durable AND EXISTS \
                 (SELECT 1 FROM room_publications p WHERE p.room_id = rooms.id) \
                 FROM rooms WHERE id > $1 ORDER BY id LIMIT {PAGE}"
            );
            let values = [
                after.into(),
                closed_before.0.into(),
                opened_before.0.into(),
            ];
            let rows = read::all(&readers, &sql, values).await?;
            let last = rows.last().map(|row| row.try_get_by_index(0)).transpose()?;
            let mut page = RoomPage {
                dead: Vec::new(),
                open: Vec::new(),
                written_out: Vec::new(),
                next: last.filter(|_| rows.len() as u64 >= PAGE),
            };
            for row in &rows {
                let (id, code) = (RoomId(row.try_get_by_index(0)?), read::code(&row.try_get_by_index::<String>(1)?)?);
                if row.try_get_by_index(2)? {
                    page.dead.push((id, code));
                } else if row.try_get_by_index(4)? {
                    page.written_out.push(id);
                }
                if row.try_get_by_index(3)? {
                    page.open.push(code);
                }
            }
            Ok(page)
        })
        .await
    }

    /// Removes those rows that are still expired, at most a bounded number per call. Callers repeat it until none is
    /// left.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, WriteError> {
        match self.write(MaintenanceCommand::Sweep(sweep)).await? {
            Committed::Swept(swept) => Ok(swept),
            Committed::Player { .. }
            | Committed::Published { .. }
            | Committed::Told { .. }
            | Committed::Ended(_)
            | Committed::AllEnded(_)
            | Committed::Adopted { .. }
            | Committed::Done => Err(WriteError::Refused(Refused::Internal)),
        }
    }
}

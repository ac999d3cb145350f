//! What has outlived its use: found by reading, a page at a time, and removed by the writer, so many rows at
//! a time, which looks again whether it has.

use uuid::Uuid;

use super::queries::read;
use super::{Command, Committed, Persistence, ReadError, Refused, WriteError};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId};

/// Rows looked at by one question, and sessions or rooms removed by one command.
const PAGE: u64 = 100;

/// Removes rows that were of no use any more at that moment. Each kind in a bounded number; what is in use
/// again, or still, stays.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub what: Litter,
    /// What ended, expired, closed or was written before.
    pub before: HubTime,
}

/// What is swept.
#[derive(Debug, Clone)]
pub enum Litter {
    /// Sessions in which nobody sits, with their tokens and keys, and the guests who have no other.
    Sessions(Vec<SessionId>),
    /// Closed rooms, once what belongs to them is gone: publications, participants, the guests among them.
    Rooms(Vec<RoomId>),
    /// What planned stops wrote out of the memory streams of these rooms, which have gone on since.
    Histories(Vec<RoomId>),
    Keys,
    /// The ids of transactions whose outcome nobody will ask for.
    Groups,
}

/// How many rows of each table were removed.
pub type Swept = Vec<(&'static str, u64)>;

/// What was found on one page of the rooms.
#[derive(Debug)]
pub struct RoomPage {
    /// Those that closed before the moment.
    pub dead: Vec<(RoomId, RoomCode)>,
    /// Those that are open, but for very new ones.
    pub open: Vec<RoomCode>,
    /// Those with a memory stream of which something has been written out.
    pub written_out: Vec<RoomId>,
    /// Where the next page begins. None at the end.
    pub next: Option<Uuid>,
}

/// What was found on one page of a table.
#[derive(Debug)]
pub struct Page<T> {
    /// Those that may be swept.
    pub dead: Vec<T>,
    /// Where the next page begins. None at the end.
    pub next: Option<Uuid>,
}

impl Persistence {
    /// The sessions after an id that ended or expired before a moment, and in which nobody sits.
    pub async fn dead_sessions(
        &self,
        after: Uuid,
        before: HubTime,
    ) -> Result<Page<SessionId>, ReadError> {
        // NULL for a session that has not ended, so its expiry counts.
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

    /// The rooms after an id: which closed before a moment, which were opened before another and are open, and what there
    /// is to sweep in others.
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

    /// Removes what is still dead. Until all of it is gone: no more than a bounded number of rows at once.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, WriteError> {
        match self.write(Command::Sweep(sweep)).await? {
            Committed::Swept(swept) => Ok(swept),
            Committed::Player { .. }
            | Committed::Published { .. }
            | Committed::Told { .. }
            | Committed::Ended(_)
            | Committed::Adopted { .. }
            | Committed::Done => Err(WriteError::Refused(Refused::Internal)),
        }
    }
}

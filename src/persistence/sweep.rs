//! What has outlived its use: found by reading, a page at a time, and removed by the writer, so many rows at
//! a time, which looks again whether it has.

use sea_orm::DbErr;
use uuid::Uuid;

use super::{Command, Committed, Persistence, ReadError, Refused, WriteError, read};
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
    Keys,
    /// The ids of transactions whose outcome nobody will ask for.
    Groups,
}

/// How many rows of each table were removed.
pub type Swept = Vec<(&'static str, u64)>;

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
        let found = self.page(sql, after, before, |_| Ok(())).await?;
        Ok(Page {
            dead: found
                .dead
                .into_iter()
                .map(|(id, ())| SessionId(id))
                .collect(),
            next: found.next,
        })
    }

    /// The rooms after an id that closed before a moment.
    pub async fn dead_rooms(
        &self,
        after: Uuid,
        before: HubTime,
    ) -> Result<Page<(RoomId, RoomCode)>, ReadError> {
        let sql = format!(
            "SELECT id, COALESCE(closed_at < $2, false) AS is_dead, code \
             FROM rooms WHERE id > $1 ORDER BY id LIMIT {PAGE}"
        );
        let code = |row: &sea_orm::QueryResult| read::code(&row.try_get_by_index::<String>(2)?);
        let found = self.page(sql, after, before, code).await?;
        Ok(Page {
            dead: found
                .dead
                .into_iter()
                .map(|(id, code)| (RoomId(id), code))
                .collect(),
            next: found.next,
        })
    }

    /// Removes what is still dead. Until all of it is gone: no more than a bounded number of rows at once.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, WriteError> {
        match self.write(Command::Sweep(sweep)).await? {
            Committed::Swept(swept) => Ok(swept),
            Committed::Player { .. }
            | Committed::Published { .. }
            | Committed::Told { .. }
            | Committed::Ended(_)
            | Committed::Done => Err(WriteError::Refused(Refused::Internal)),
        }
    }

    async fn page<T: Send + 'static>(
        &self,
        sql: String,
        after: Uuid,
        before: HubTime,
        more: impl Fn(&sea_orm::QueryResult) -> Result<T, DbErr> + Send + 'static,
    ) -> Result<Page<(Uuid, T)>, ReadError> {
        let readers = self.readers();
        self.read(async move {
            let rows = read::all(&readers, &sql, [after.into(), before.0.into()]).await?;
            let is_full = rows.len() as u64 >= PAGE;
            let last = rows.last().map(|row| row.try_get_by_index(0)).transpose()?;
            let mut dead = Vec::new();
            for row in &rows {
                if row.try_get_by_index(1)? {
                    dead.push((row.try_get_by_index(0)?, more(row)?));
                }
            }
            Ok(Page {
                dead,
                next: last.filter(|_| is_full),
            })
        })
        .await
    }
}

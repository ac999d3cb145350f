//! Reads rooms and sessions by their ids, many at a time, to start them.
//!
//! The caller adapts the page to the database: it retries a failed page in halves, so that no statement timeout can
//! stop a restore.

use std::collections::HashMap;

use sea_orm::{DatabaseConnection, DbErr, QueryResult};
use uuid::Uuid;

use super::read::{self, ROOMS, SEATS, SESSIONS, token_hash};
use crate::id::{RoomCode, RoomId, SessionId};
use crate::persistence::database::rows::{Rows, Type};
use crate::persistence::{Persistence, ReadError, StoredRoom, StoredSeat, StoredSession};

impl Persistence {
    /// Returns those of these rooms that are open, with their seats and the histories that a planned stop wrote out.
    pub async fn rooms_by_id(&self, ids: Vec<RoomId>) -> Result<Vec<StoredRoom>, ReadError> {
        let readers = self.readers();
        let rooms = self.read(async move { rooms(&readers, &ids).await });
        let mut rooms = rooms.await?;
        self.take_up_all(&mut rooms).await?;
        Ok(rooms)
    }

    /// Returns those of these sessions that have not ended, with their tokens and all their seats.
    pub async fn sessions_by_id(
        &self,
        ids: Vec<SessionId>,
    ) -> Result<Vec<StoredSession>, ReadError> {
        let mut found = self.any_sessions_by_id(ids).await?;
        found.retain(|session| !session.is_ended);
        Ok(found)
    }

    async fn any_sessions_by_id(
        &self,
        ids: Vec<SessionId>,
    ) -> Result<Vec<StoredSession>, ReadError> {
        let readers = self.readers();
        self.read(async move { sessions(&readers, &ids).await })
            .await
    }

    /// Returns the session with this id, ended or not.
    pub async fn session_by_id(&self, id: SessionId) -> Result<Option<StoredSession>, ReadError> {
        let persistence = self.clone();
        let read = move |ids| {
            let persistence = persistence.clone();
            async move {
                let found = persistence.any_sessions_by_id(ids).await?.into_iter();
                Ok(found.map(|session| (session.id, session)).collect())
            }
        };
        self.shared.sessions.ask(id, read).await
    }

    /// Returns the room with this code, open or closed, with its seats and without its publications.
    pub async fn room_by_code(&self, code: RoomCode) -> Result<Option<StoredRoom>, ReadError> {
        let persistence = self.clone();
        let read = move |codes: Vec<RoomCode>| {
            let persistence = persistence.clone();
            async move {
                let readers = persistence.readers();
                let found = persistence.read(async move { rooms_by_code(&readers, &codes).await });
                let found = found.await?.into_iter();
                Ok(found.map(|room| (room.code, room)).collect())
            }
        };
        self.shared.rooms.ask(code, read).await
    }
}

async fn rooms(readers: &DatabaseConnection, ids: &[RoomId]) -> Result<Vec<StoredRoom>, DbErr> {
    let sql = format!("{ROOMS} WHERE closed_at IS NULL AND id IN (SELECT id FROM v)");
    let rows = among(readers, ids.iter().map(|id| id.0), &sql).await?;
    with_seats(readers, &rows).await
}

async fn rooms_by_code(
    readers: &DatabaseConnection,
    codes: &[RoomCode],
) -> Result<Vec<StoredRoom>, DbErr> {
    let mut rows = Rows::new(&[("code", Type::Text)]);
    for code in codes {
        rows.push([code.as_str().into()]);
    }
    let sql = format!("{ROOMS} WHERE code IN (SELECT code FROM v)");
    let rows = rows.look(readers, &sql).await?;
    with_seats(readers, &rows).await
}

async fn with_seats(
    readers: &DatabaseConnection,
    rows: &[QueryResult],
) -> Result<Vec<StoredRoom>, DbErr> {
    let rooms = rows.iter().map(read::room);
    let mut rooms: Vec<StoredRoom> = rooms.collect::<Result<_, _>>()?;
    let ids: Vec<Uuid> = rooms.iter().map(|room| room.id.0).collect();
    let ids = || ids.iter().copied();
    let sql = format!("{SEATS} WHERE s.room_id IN (SELECT id FROM v) ORDER BY s.room_id, s.seat");
    let mut seats = by(seats(readers, ids(), &sql).await?, |seat| seat.room);
    for room in &mut rooms {
        room.seats = seats.remove(&room.id).unwrap_or_default();
    }
    Ok(rooms)
}

async fn sessions(
    readers: &DatabaseConnection,
    ids: &[SessionId],
) -> Result<Vec<StoredSession>, DbErr> {
    let ids = || ids.iter().map(|id| id.0);
    let sql = format!("{SESSIONS} WHERE a.id IN (SELECT id FROM v)");
    let mut sessions = Vec::new();
    for row in among(readers, ids(), &sql).await? {
        sessions.push(read::session(&row)?);
    }
    let sql = "SELECT session_id, hash FROM session_tokens WHERE session_id IN (SELECT id FROM v)";
    let mut tokens = Vec::new();
    for row in among(readers, ids(), sql).await? {
        let session = SessionId(row.try_get_by_index(0)?);
        tokens.push((session, token_hash(row.try_get_by_index(1)?)?));
    }
    let mut tokens = by(tokens, |(session, _)| *session);
    let sql = format!("{SEATS} WHERE s.session_id IN (SELECT id FROM v) ORDER BY s.room_id");
    let mut seats = by(seats(readers, ids(), &sql).await?, |seat| seat.session);
    for session in &mut sessions {
        let tokens = tokens.remove(&session.id).unwrap_or_default();
        session.tokens = tokens.into_iter().map(|(_, hash)| hash).collect();
        session.seats = seats.remove(&session.id).unwrap_or_default();
    }
    Ok(sessions)
}

async fn seats(
    readers: &DatabaseConnection,
    ids: impl Iterator<Item = Uuid>,
    sql: &str,
) -> Result<Vec<StoredSeat>, DbErr> {
    among(readers, ids, sql)
        .await?
        .iter()
        .map(read::seat)
        .collect()
}

/// Runs `sql`, which reads these ids from `v`.
async fn among(
    readers: &DatabaseConnection,
    ids: impl Iterator<Item = Uuid>,
    sql: &str,
) -> Result<Vec<QueryResult>, DbErr> {
    let mut rows = Rows::new(&[("id", Type::Uuid)]);
    for id in ids {
        rows.push([id.into()]);
    }
    rows.look(readers, sql).await
}

fn by<K: Eq + std::hash::Hash, T>(all: Vec<T>, key: impl Fn(&T) -> K) -> HashMap<K, Vec<T>> {
    let mut found: HashMap<K, Vec<T>> = HashMap::new();
    for one in all {
        found.entry(key(&one)).or_default().push(one);
    }
    found
}

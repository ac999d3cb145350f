//! Reads back what a hub needs to go on: two merges of two sorted streams each, never a whole table at once.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Statement, StreamTrait};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use super::read::{code, duration, seat_number, token_hash};
use super::run::{TakenOver, offset};
use super::{StoredRoom, StoredSeat, StoredSession, StoredStream};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, UserId};

/// Rooms or sessions handed over at a time: few enough to be a small message, enough to make it rare.
const BATCH: usize = 512;

/// Every open room with a seat that somebody holds, by id.
const ROOMS: &str = "SELECT id, code, kind, settings, grace, current_game_id, stream_epoch, \
                     stream_top FROM rooms WHERE closed_at IS NULL AND id IN \
                     (SELECT room_id FROM room_seats) ORDER BY id";

const ROOM_SEATS: &str = "SELECT s.room_id, s.seat, s.team, s.session_id, s.user_id, u.name, \
                          s.hold_until FROM room_seats s JOIN users u ON u.id = s.user_id \
                          ORDER BY s.room_id, s.seat";

const SESSION_SEATS: &str = "SELECT s.session_id, s.seat, s.team, s.user_id, u.name, s.hold_until, \
                             a.expires_at, s.room_id, r.code, r.kind, r.grace \
                             FROM room_seats s JOIN app_sessions a ON a.id = s.session_id \
                             JOIN users u ON u.id = s.user_id JOIN rooms r ON r.id = s.room_id \
                             WHERE a.ended_at IS NULL AND r.closed_at IS NULL \
                             ORDER BY s.session_id, s.room_id";

const SESSION_TOKENS: &str = "SELECT t.session_id, t.hash FROM session_tokens t WHERE t.session_id \
                              IN (SELECT session_id FROM room_seats) ORDER BY t.session_id";

/// Why a restore ended early.
pub(super) enum Interrupted {
    Database(DbErr),
    /// Whoever wanted it has gone.
    Unwanted,
}

impl From<DbErr> for Interrupted {
    fn from(error: DbErr) -> Interrupted {
        Interrupted::Database(error)
    }
}

pub(super) async fn rooms(
    readers: DatabaseConnection,
    taken_over: &Mutex<TakenOver>,
    to: Sender<Vec<StoredRoom>>,
) -> Result<(), Interrupted> {
    let mut rows = stream(&readers, ROOMS).await?;
    let mut seats = Merge::new(stream(&readers, ROOM_SEATS).await?);
    let mut kinds = Kinds::default();
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next().await {
        let mut room = room(&row?, &mut kinds)?;
        take_over(&mut room, &mut taken_over.lock());
        while let Some(row) = seats.next_of(room.id.0).await? {
            room.seats.push(seat_of_room(&row, &room)?);
        }
        push(&mut batch, room, &to).await?;
    }
    hand_over(&mut batch, &to).await
}

pub(super) async fn sessions(
    readers: DatabaseConnection,
    to: Sender<Vec<StoredSession>>,
) -> Result<(), Interrupted> {
    let mut seats = stream(&readers, SESSION_SEATS).await?;
    let mut tokens = Merge::new(stream(&readers, SESSION_TOKENS).await?);
    let mut kinds = Kinds::default();
    let mut batch: Vec<StoredSession> = Vec::with_capacity(BATCH);
    let mut current: Option<StoredSession> = None;
    while let Some(row) = seats.next().await {
        let row = row?;
        let id = SessionId(row.try_get_by_index(0)?);
        if let Some(session) = current.as_mut().filter(|session| session.id == id) {
            let seat = seat_of_session(&row, session, &mut kinds)?;
            session.seats.push(seat);
            continue;
        }
        if let Some(done) = current.take() {
            push(&mut batch, done, &to).await?;
        }
        let mut session = session(&row, id)?;
        let seat = seat_of_session(&row, &session, &mut kinds)?;
        session.seats.push(seat);
        while let Some(row) = tokens.next_of(id.0).await? {
            session.tokens.push(token_hash(row.try_get_by_index(1)?)?);
        }
        current = Some(session);
    }
    if let Some(done) = current {
        push(&mut batch, done, &to).await?;
    }
    hand_over(&mut batch, &to).await
}

/// Gives the room back what a planned stop wrote out.
fn take_over(room: &mut StoredRoom, taken_over: &mut TakenOver) {
    room.stream.is_continued = taken_over.is_clean;
    room.stream.publications = taken_over.histories.remove(&room.id).unwrap_or_default();
}

async fn stream<'a>(
    readers: &'a DatabaseConnection,
    sql: &str,
) -> Result<impl Stream<Item = Result<QueryResult, DbErr>> + Send + Unpin + 'a, DbErr> {
    let backend = ConnectionTrait::get_database_backend(readers);
    let rows = readers
        .stream_raw(Statement::from_string(backend, sql))
        .await?;
    Ok(Box::pin(rows))
}

/// A stream of rows sorted by their first column, read along with another one sorted by the same.
struct Merge<S> {
    rows: S,
    ahead: Option<(Uuid, QueryResult)>,
}

impl<S: Stream<Item = Result<QueryResult, DbErr>> + Unpin> Merge<S> {
    fn new(rows: S) -> Merge<S> {
        Merge { rows, ahead: None }
    }

    /// The next row of this id, passing by those of lower ids.
    async fn next_of(&mut self, id: Uuid) -> Result<Option<QueryResult>, DbErr> {
        loop {
            let (found, row) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.rows.next().await {
                    Some(row) => {
                        let row = row?;
                        (row.try_get_by_index(0)?, row)
                    }
                    None => return Ok(None),
                },
            };
            if found == id {
                return Ok(Some(row));
            }
            if found > id {
                self.ahead = Some((found, row));
                return Ok(None);
            }
        }
    }
}

/// The names of kinds, each kept once: there are few, and a hundred thousand seats that have one.
#[derive(Default)]
struct Kinds(HashMap<String, Arc<str>>);

impl Kinds {
    fn name(&mut self, name: String) -> Arc<str> {
        self.0
            .entry(name)
            .or_insert_with_key(|name| name.as_str().into())
            .clone()
    }
}

async fn push<T>(batch: &mut Vec<T>, item: T, to: &Sender<Vec<T>>) -> Result<(), Interrupted> {
    batch.push(item);
    if batch.len() < BATCH {
        return Ok(());
    }
    hand_over(batch, to).await
}

async fn hand_over<T>(batch: &mut Vec<T>, to: &Sender<Vec<T>>) -> Result<(), Interrupted> {
    if batch.is_empty() {
        return Ok(());
    }
    let full = std::mem::replace(batch, Vec::with_capacity(BATCH));
    to.send(full).await.map_err(|_| Interrupted::Unwanted)
}

fn room(row: &QueryResult, kinds: &mut Kinds) -> Result<StoredRoom, DbErr> {
    Ok(StoredRoom {
        id: RoomId(row.try_get_by_index(0)?),
        code: code(&row.try_get_by_index::<String>(1)?)?,
        kind: kinds.name(row.try_get_by_index(2)?),
        settings: row.try_get_by_index::<String>(3)?.into(),
        grace: duration(row.try_get_by_index(4)?),
        current_game_id: row.try_get_by_index::<Option<String>>(5)?.map(Into::into),
        stream: StoredStream {
            epoch: row.try_get_by_index::<String>(6)?.into(),
            top: offset(row.try_get_by_index(7)?),
            is_continued: false,
            publications: Vec::new(),
        },
        is_closed: false,
        seats: Vec::new(),
    })
}

fn seat_of_room(row: &QueryResult, room: &StoredRoom) -> Result<StoredSeat, DbErr> {
    Ok(StoredSeat {
        room: room.id,
        code: room.code,
        kind: room.kind.clone(),
        number: seat_number(row.try_get_by_index(1)?)?,
        team: row.try_get_by_index::<Option<String>>(2)?.map(Into::into),
        session: SessionId(row.try_get_by_index(3)?),
        user: UserId::from_stored(row.try_get_by_index(4)?),
        user_name: row.try_get_by_index::<String>(5)?.into(),
        grace: room.grace,
        hold_until: row.try_get_by_index::<Option<i64>>(6)?.map(HubTime),
    })
}

fn session(row: &QueryResult, id: SessionId) -> Result<StoredSession, DbErr> {
    Ok(StoredSession {
        id,
        user: UserId::from_stored(row.try_get_by_index(3)?),
        user_name: row.try_get_by_index::<String>(4)?.into(),
        expires_at: HubTime(row.try_get_by_index(6)?),
        is_ended: false,
        tokens: Vec::new(),
        seats: Vec::new(),
    })
}

fn seat_of_session(
    row: &QueryResult,
    session: &StoredSession,
    kinds: &mut Kinds,
) -> Result<StoredSeat, DbErr> {
    let code: RoomCode = code(&row.try_get_by_index::<String>(8)?)?;
    Ok(StoredSeat {
        room: RoomId(row.try_get_by_index(7)?),
        code,
        kind: kinds.name(row.try_get_by_index(9)?),
        number: seat_number(row.try_get_by_index(1)?)?,
        team: row.try_get_by_index::<Option<String>>(2)?.map(Into::into),
        session: session.id,
        user: session.user.clone(),
        user_name: session.user_name.clone(),
        grace: duration(row.try_get_by_index(10)?),
        hold_until: row.try_get_by_index::<Option<i64>>(5)?.map(HubTime),
    })
}

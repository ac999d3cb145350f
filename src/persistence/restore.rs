//! Reads back what a hub needs to go on, as sorted streams of rows, never a whole table at once.
//!
//! Each seat is read once: it goes into its room, and is kept by its session until that is read too. Rows and
//! columns are what a restore costs, so a second reading of the seats would double it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult, Statement, StreamTrait};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use super::publication::offset;
use super::read::{code, duration, seat_number, token_hash, tokens};
use super::run::TakenOver;
use super::{StoredRoom, StoredSeat, StoredSession, StoredStream};
use crate::clock::HubTime;
use crate::id::{RoomId, SessionId, UserId};

/// Rooms or sessions handed over at a time: few enough to be a small message, enough to make it rare.
const BATCH: usize = 512;

/// Every open room with a seat that somebody holds, by id.
const ROOMS: &str = "SELECT id, code, kind, settings, grace, current_game_id, stream_epoch, \
                     stream_top, stream_durable FROM rooms WHERE closed_at IS NULL AND id IN \
                     (SELECT room_id FROM room_seats) ORDER BY id";

const ROOM_SEATS: &str = "SELECT s.room_id, s.seat, s.team, s.session_id, s.user_id, u.name, \
                          s.hold_until, s.token_generation, s.tokens_ended FROM room_seats s JOIN users u ON u.id = s.user_id \
                          ORDER BY s.room_id, s.seat";

/// Sessions with a row for each of their tokens.
const SESSIONS: &str = "SELECT a.id, a.expires_at, t.hash, a.login_until FROM app_sessions a \
                        LEFT JOIN session_tokens t ON t.session_id = a.id \
                        WHERE a.ended_at IS NULL AND a.id IN (SELECT session_id FROM room_seats) \
                        ORDER BY a.id";

/// The seats that were read, by the session that holds them.
pub(super) type SeatsBySession = HashMap<SessionId, Vec<StoredSeat>>;

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
) -> Result<SeatsBySession, Interrupted> {
    let mut rows = stream(&readers, ROOMS).await?;
    let mut seats = Merge::new(stream(&readers, ROOM_SEATS).await?);
    let mut kinds = Kinds::default();
    let mut by_session = SeatsBySession::new();
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next().await {
        let mut room = room(&row?, &mut kinds)?;
        take_over(&mut room, &mut taken_over.lock());
        while let Some(row) = seats.next_of(room.id.0).await? {
            let seat = seat(&row, &room)?;
            by_session
                .entry(seat.session)
                .or_default()
                .push(seat.clone());
            room.seats.push(seat);
        }
        push(&mut batch, room, &to).await?;
    }
    hand_over(&mut batch, &to).await?;
    Ok(by_session)
}

pub(super) async fn sessions(
    readers: DatabaseConnection,
    mut seats: SeatsBySession,
    to: Sender<Vec<StoredSession>>,
) -> Result<(), Interrupted> {
    let mut rows = stream(&readers, SESSIONS).await?;
    let mut batch: Vec<StoredSession> = Vec::with_capacity(BATCH);
    let mut current: Option<StoredSession> = None;
    while let Some(row) = rows.next().await {
        let row = row?;
        let id = SessionId(row.try_get_by_index(0)?);
        if current.as_ref().is_none_or(|session| session.id != id) {
            if let Some(done) = current.take() {
                push(&mut batch, done, &to).await?;
            }
            // Without seats only if its rooms are closed, which leaves it with nothing to restore.
            current = seats
                .remove(&id)
                .map(|seats| session(&row, id, seats))
                .transpose()?
                .flatten();
        }
        if let Some(session) = &mut current
            && let Some(hash) = row.try_get_by_index::<Option<Vec<u8>>>(2)?
        {
            session.tokens.push(token_hash(hash)?);
        }
    }
    if let Some(done) = current {
        push(&mut batch, done, &to).await?;
    }
    hand_over(&mut batch, &to).await
}

/// Gives the room back what a planned stop wrote out. A durable stream goes on in any case.
fn take_over(room: &mut StoredRoom, taken_over: &mut TakenOver) {
    if room.stream.is_durable {
        return;
    }
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
    let is_durable = row.try_get_by_index(8)?;
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
            is_continued: is_durable,
            is_durable,
            publications: Vec::new(),
        },
        is_closed: false,
        seats: Vec::new(),
    })
}

fn seat(row: &QueryResult, room: &StoredRoom) -> Result<StoredSeat, DbErr> {
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
        tokens: tokens(row, 7)?,
    })
}

fn session(
    row: &QueryResult,
    id: SessionId,
    seats: Vec<StoredSeat>,
) -> Result<Option<StoredSession>, DbErr> {
    let Some(first) = seats.first() else {
        return Ok(None);
    };
    Ok(Some(StoredSession {
        id,
        user: first.user.clone(),
        user_name: first.user_name.clone(),
        expires_at: HubTime(row.try_get_by_index(1)?),
        login_until: row.try_get_by_index::<Option<i64>>(3)?.map(HubTime),
        is_ended: false,
        tokens: Vec::new(),
        seats,
    }))
}

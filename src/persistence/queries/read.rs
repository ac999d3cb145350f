//! Queries as single autocommit statements, so that dropping one leaves nothing open.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::ArrayType;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement, Value,
};

use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, TokenHash, UserId};
use crate::persistence::database::publication_rows::offset;
use crate::persistence::{StoredRoom, StoredSeat, StoredSession, StoredStream};
use crate::token::Generations;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUser {
    pub id: UserId,
    pub name: Arc<str>,
    pub is_guest: bool,
    pub is_active: bool,
    pub credits: i64,
}

pub(crate) const SEATS: &str = "SELECT s.room_id, r.code, r.kind, s.seat, s.team, s.session_id, s.user_id, \
                     u.name, r.grace, s.hold_until, s.token_generation, s.tokens_ended \
                     FROM room_seats s JOIN rooms r ON r.id = s.room_id \
                     JOIN users u ON u.id = s.user_id";

pub(crate) const SESSIONS: &str = "SELECT a.id, a.user_id, u.name, a.expires_at, a.ended_at, a.login_until \
                        FROM app_sessions a JOIN users u ON u.id = a.user_id";

pub(crate) const ROOMS: &str = "SELECT id, code, kind, settings, grace, current_game_id, stream_epoch, \
                     stream_top, closed_at, stream_durable FROM rooms";

pub(crate) async fn session_by_token(
    readers: &DatabaseConnection,
    hash: TokenHash,
) -> Result<Option<StoredSession>, DbErr> {
    let sql = format!("{SESSIONS} JOIN session_tokens t ON t.session_id = a.id WHERE t.hash = $1");
    let row = one(readers, &sql, [hash.0.to_vec().into()]).await?;
    complete_session(readers, row).await
}

/// Returns the session with which the user holds a seat: the one seen last, if there are several.
pub(crate) async fn seated_session_of_user(
    readers: &DatabaseConnection,
    user: &UserId,
) -> Result<Option<SessionId>, DbErr> {
    let sql = "SELECT s.session_id FROM room_seats s \
               JOIN app_sessions a ON a.id = s.session_id AND a.ended_at IS NULL \
               WHERE s.user_id = $1 ORDER BY s.last_heartbeat_at DESC LIMIT 1";
    one(readers, sql, [user.as_str().into()])
        .await?
        .map(|row| row.try_get_by_index(0).map(SessionId))
        .transpose()
}

pub(crate) async fn user(
    readers: &DatabaseConnection,
    id: &UserId,
) -> Result<Option<StoredUser>, DbErr> {
    let sql = "SELECT id, name, is_guest, is_active, credits FROM users WHERE id = $1";
    one(readers, sql, [id.as_str().into()])
        .await?
        .map(|row| {
            Ok(StoredUser {
                id: UserId::from_stored(row.try_get_by_index(0)?),
                name: row.try_get_by_index::<String>(1)?.into(),
                is_guest: row.try_get_by_index(2)?,
                is_active: row.try_get_by_index(3)?,
                credits: row.try_get_by_index(4)?,
            })
        })
        .transpose()
}

/// Returns those of these users that exist and are active.
pub(crate) async fn active_users(
    readers: &DatabaseConnection,
    ids: HashSet<String>,
) -> Result<HashSet<String>, DbErr> {
    let backend = readers.get_database_backend();
    let (condition, values): (String, Vec<Value>) = if backend == DbBackend::Postgres {
        // One text, and so one prepared plan, for any number of users.
        let ids = ids.into_iter().map(Value::from).collect();
        let ids = Value::Array(ArrayType::String, Some(Box::new(ids)));
        ("= ANY($1)".to_owned(), vec![ids])
    } else {
        let marks = vec!["?"; ids.len()].join(", ");
        (
            format!("IN ({marks})"),
            ids.into_iter().map(Value::from).collect(),
        )
    };
    let sql = format!("SELECT id FROM users WHERE is_active AND id {condition}");
    let rows = readers
        .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

pub(crate) async fn ping(readers: &DatabaseConnection) -> Result<(), DbErr> {
    one(readers, "SELECT 1", []).await?;
    Ok(())
}

async fn complete_session(
    readers: &DatabaseConnection,
    row: Option<QueryResult>,
) -> Result<Option<StoredSession>, DbErr> {
    let Some(row) = row else {
        return Ok(None);
    };
    let mut session = session(&row)?;
    let id = session.id.0;
    let sql = "SELECT hash FROM session_tokens WHERE session_id = $1";
    let tokens = all(readers, sql, [id.into()]).await?;
    session.tokens = tokens.iter().map(token).collect::<Result<_, _>>()?;
    let sql = format!("{SEATS} WHERE s.session_id = $1 ORDER BY s.room_id");
    session.seats = seats(readers, &sql, [id.into()]).await?;
    Ok(Some(session))
}

/// Reads a session without its tokens and seats.
pub(crate) fn session(row: &QueryResult) -> Result<StoredSession, DbErr> {
    Ok(StoredSession {
        id: SessionId(row.try_get_by_index(0)?),
        user: UserId::from_stored(row.try_get_by_index(1)?),
        user_name: row.try_get_by_index::<String>(2)?.into(),
        expires_at: HubTime(row.try_get_by_index(3)?),
        is_ended: row.try_get_by_index::<Option<i64>>(4)?.is_some(),
        login_until: row.try_get_by_index::<Option<i64>>(5)?.map(HubTime),
        tokens: Vec::new(),
        seats: Vec::new(),
    })
}

fn token(row: &QueryResult) -> Result<TokenHash, DbErr> {
    token_hash(row.try_get_by_index(0)?)
}

pub(crate) fn token_hash(bytes: Vec<u8>) -> Result<TokenHash, DbErr> {
    let hash = bytes.try_into();
    hash.map(TokenHash)
        .map_err(|_| DbErr::Type("a stored token hash does not have 32 bytes".into()))
}

async fn seats<const N: usize>(
    readers: &DatabaseConnection,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<StoredSeat>, DbErr> {
    let rows = all(readers, sql, values).await?;
    rows.iter().map(seat).collect()
}

pub(crate) fn seat(row: &QueryResult) -> Result<StoredSeat, DbErr> {
    Ok(StoredSeat {
        room: RoomId(row.try_get_by_index(0)?),
        code: code(&row.try_get_by_index::<String>(1)?)?,
        kind: row.try_get_by_index::<String>(2)?.into(),
        number: seat_number(row.try_get_by_index(3)?)?,
        team: row.try_get_by_index::<Option<String>>(4)?.map(Into::into),
        session: SessionId(row.try_get_by_index(5)?),
        user: UserId::from_stored(row.try_get_by_index(6)?),
        user_name: row.try_get_by_index::<String>(7)?.into(),
        grace: duration(row.try_get_by_index(8)?),
        hold_until: row.try_get_by_index::<Option<i64>>(9)?.map(HubTime),
        tokens: tokens(row, 10)?,
    })
}

pub(crate) fn room(row: &QueryResult) -> Result<StoredRoom, DbErr> {
    let is_durable = row.try_get_by_index(9)?;
    Ok(StoredRoom {
        id: RoomId(row.try_get_by_index(0)?),
        code: code(&row.try_get_by_index::<String>(1)?)?,
        kind: row.try_get_by_index::<String>(2)?.into(),
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
        is_closed: row.try_get_by_index::<Option<i64>>(8)?.is_some(),
        seats: Vec::new(),
    })
}

/// Reads the generations of a seat's tokens from two columns, starting with this one.
pub(crate) fn tokens(row: &QueryResult, column: usize) -> Result<Generations, DbErr> {
    Ok(Generations {
        confirmed: row.try_get_by_index(column)?,
        ended: row.try_get_by_index(column + 1)?,
    })
}

pub(crate) fn code(text: &str) -> Result<RoomCode, DbErr> {
    text.parse()
        .map_err(|_| DbErr::Type("a stored room code is invalid".into()))
}

pub(crate) fn seat_number(number: i32) -> Result<u16, DbErr> {
    u16::try_from(number).map_err(|_| DbErr::Type("a stored seat number is out of range".into()))
}

pub(crate) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

pub(crate) async fn one<const N: usize>(
    readers: &DatabaseConnection,
    sql: &str,
    values: [Value; N],
) -> Result<Option<QueryResult>, DbErr> {
    let backend = readers.get_database_backend();
    readers
        .query_one_raw(Statement::from_sql_and_values(backend, sql, values))
        .await
}

pub(crate) async fn all<const N: usize>(
    readers: &DatabaseConnection,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<QueryResult>, DbErr> {
    let backend = readers.get_database_backend();
    readers
        .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await
}

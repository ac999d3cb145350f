//! The seats that are held at a start: the least that a hub must know of each before it takes players.

use sea_orm::{DatabaseConnection, DbErr, QueryResult};
use uuid::Uuid;

use super::read::{self, all, code, token_hash};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, TokenHash, UserId};
use crate::persistence::database::rows::{Rows, Type};
use crate::persistence::{Persistence, ReadError};

/// Seats, or rooms, read by one query.
const PAGE: usize = 4096;

/// A held or away seat.
#[derive(Debug, Clone)]
pub struct SeatedRoom {
    pub room: RoomId,
    pub code: RoomCode,
    pub kind: String,
    pub seat: u16,
    pub session: SessionId,
    pub user: UserId,
    /// None while held.
    pub hold_until: Option<HubTime>,
}

/// A page of seats, in the order of their rooms and numbers.
#[derive(Debug)]
pub struct SeatedPage {
    pub seats: Vec<SeatedRoom>,
    /// The tokens of the sessions that hold these seats.
    pub tokens: Vec<(TokenHash, SessionId)>,
    /// The seat after which the next page begins. None at the end.
    pub next: Option<(RoomId, u16)>,
}

impl Persistence {
    /// Returns the page of seats after `after`, or the first page.
    pub async fn seated(&self, after: Option<(RoomId, u16)>) -> Result<SeatedPage, ReadError> {
        let readers = self.readers();
        self.read(async move {
            let seats = seats(&readers, after).await?;
            let last = seats.last().map(|seat| (seat.room, seat.seat));
            Ok(SeatedPage {
                tokens: tokens(&readers, &seats).await?,
                next: last.filter(|_| seats.len() == PAGE),
                seats,
            })
        })
        .await
    }

    /// Returns a page of open rooms in which nobody holds a seat, and the room after which the next page begins.
    pub async fn empty_rooms(&self, after: Uuid) -> Result<(Vec<RoomId>, Option<Uuid>), ReadError> {
        let readers = self.readers();
        self.read(async move { empty_rooms(&readers, after).await })
            .await
    }
}

async fn seats(
    readers: &DatabaseConnection,
    after: Option<(RoomId, u16)>,
) -> Result<Vec<SeatedRoom>, DbErr> {
    // No seat has a negative number.
    let (room, seat) = after.map_or((Uuid::nil(), -1), |(room, seat)| (room.0, i64::from(seat)));
    let sql = format!(
        "SELECT s.room_id, r.code, r.kind, s.seat, s.session_id, s.user_id, s.hold_until \
         FROM room_seats s JOIN rooms r ON r.id = s.room_id \
         WHERE (s.room_id, s.seat) > ($1, $2) ORDER BY s.room_id, s.seat LIMIT {PAGE}"
    );
    let rows = all(readers, &sql, [room.into(), seat.into()]).await?;
    rows.iter().map(seated).collect()
}

fn seated(row: &QueryResult) -> Result<SeatedRoom, DbErr> {
    Ok(SeatedRoom {
        room: RoomId(row.try_get_by_index(0)?),
        code: code(&row.try_get_by_index::<String>(1)?)?,
        kind: row.try_get_by_index(2)?,
        seat: read::seat_number(row.try_get_by_index(3)?)?,
        session: SessionId(row.try_get_by_index(4)?),
        user: UserId::from_stored(row.try_get_by_index(5)?),
        hold_until: row.try_get_by_index::<Option<i64>>(6)?.map(HubTime),
    })
}

async fn tokens(
    readers: &DatabaseConnection,
    seats: &[SeatedRoom],
) -> Result<Vec<(TokenHash, SessionId)>, DbErr> {
    let mut sessions = Rows::new(&[("id", Type::Uuid)]);
    for seat in seats {
        sessions.push([seat.session.0.into()]);
    }
    let sql = "SELECT hash, session_id FROM session_tokens WHERE session_id IN (SELECT id FROM v)";
    let rows = sessions.look(readers, sql).await?;
    let tokens = rows.iter().map(|row| {
        let session = SessionId(row.try_get_by_index(1)?);
        Ok((token_hash(row.try_get_by_index(0)?)?, session))
    });
    tokens.collect()
}

async fn empty_rooms(
    readers: &DatabaseConnection,
    after: Uuid,
) -> Result<(Vec<RoomId>, Option<Uuid>), DbErr> {
    let sql = format!(
        "SELECT id, closed_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM room_seats s WHERE s.room_id = rooms.id) AS is_empty \
         FROM rooms WHERE id > $1 ORDER BY id LIMIT {PAGE}"
    );
    let rows = all(readers, &sql, [after.into()]).await?;
    let mut empty = Vec::new();
    let mut last = None;
    for row in &rows {
        let id: Uuid = row.try_get_by_index(0)?;
        last = Some(id);
        if row.try_get_by_index(1)? {
            empty.push(RoomId(id));
        }
    }
    Ok((empty, last.filter(|_| rows.len() == PAGE)))
}

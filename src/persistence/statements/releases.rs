//! Statements that free rows: release a seat, end a session, close a room.

use std::collections::{HashMap, HashSet};

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::session_events::{self, Asker, SessionChange, Told};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId};
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{
    Command, Committed, EndSession, EndSessions, EndedSessions, Refused, ReleaseSeat, RoomCommand,
    SeatCommand, SessionCommand,
};

const SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("session_id", Type::Uuid),
];

const HELD_SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("session_id", Type::Uuid),
    ("hold_until", Type::Int),
];

const USER: Columns = &[("user_id", Type::Text), ("at", Type::Int)];

const ENDED: Columns = &[("id", Type::Uuid), ("at", Type::Int)];

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<Vec<Told>, DbErr> {
    let mut releases = Vec::new();
    let mut ends = Vec::new();
    let mut closes = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if outcomes.is_settled(index) {
            continue;
        }
        match &item.command {
            Command::Seat(SeatCommand::Release(release)) => releases.push((index, release)),
            Command::Session(SessionCommand::End(end)) => ends.push((index, end)),
            Command::Session(SessionCommand::EndAll(end)) => {
                return end_all(transaction, index, end, now, outcomes).await;
            }
            Command::Room(RoomCommand::Close(room)) => closes.push((index, room.0)),
            Command::Seat(_)
            | Command::Session(_)
            | Command::Room(_)
            | Command::Stream(_)
            | Command::Maintenance(_) => {}
        }
    }
    release_seats(transaction, &releases, outcomes).await?;
    let told = end_sessions(transaction, &ends, now, outcomes).await?;
    close_rooms(transaction, &closes, now, outcomes).await?;
    Ok(told)
}

async fn release_seats(
    transaction: &DatabaseTransaction,
    releases: &[(usize, &ReleaseSeat)],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut any = Rows::new(SEAT);
    let mut held = Rows::new(HELD_SEAT);
    for (_, release) in releases {
        let (room, session) = (release.room.0.into(), release.session.0.into());
        let seat = i64::from(release.seat).into();
        match release.hold_until {
            None => any.push([room, seat, session]),
            Some(hold) => held.push([room, seat, session, hold.0.into()]),
        }
    }
    let mut rows = held
        .query(
            transaction,
            "DELETE FROM room_seats WHERE status = 'away' AND \
             (room_id, seat, session_id, hold_until) \
             IN (SELECT room_id, seat, session_id, hold_until FROM v) \
             RETURNING room_id, seat",
        )
        .await?;
    rows.append(
        &mut any
            .query(
                transaction,
                "DELETE FROM room_seats WHERE (room_id, seat, session_id) \
                 IN (SELECT room_id, seat, session_id FROM v) RETURNING room_id, seat",
            )
            .await?,
    );
    let mut freed: HashSet<(Uuid, i32)> = HashSet::with_capacity(rows.len());
    for row in rows {
        freed.insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    }
    for (index, release) in releases {
        let seat = (release.room.0, i32::from(release.seat));
        outcomes.done_or(Refused::SeatChanged, *index, freed.remove(&seat));
    }
    Ok(())
}

async fn end_sessions(
    transaction: &DatabaseTransaction,
    ends: &[(usize, &EndSession)],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<Vec<Told>, DbErr> {
    let mut ended = Rows::new(ENDED);
    let mut left = Rows::new(&[("id", Type::Uuid)]);
    for (index, end) in ends {
        ended.push([end.session.0.into(), now.0.into()]);
        left.push([end.session.0.into()]);
        // Ending a session that has ended, or was swept, changes nothing and succeeds.
        outcomes.commit(*index, Committed::Ended(Vec::new()));
    }
    ended
        .execute(
            transaction,
            "UPDATE app_sessions SET ended_at = v.at FROM v \
             WHERE app_sessions.id = v.id AND app_sessions.ended_at IS NULL",
        )
        .await?;
    let given_up = left
        .query(
            transaction,
            "DELETE FROM room_seats WHERE session_id IN (SELECT id FROM v) \
             RETURNING room_id, session_id, seat, team, user_id",
        )
        .await?;
    let askers = ends.iter().map(|(index, end)| Asker {
        index: *index,
        session: end.session,
        change: SessionChange::Ended,
    });
    let askers: Vec<Asker> = askers.collect();
    session_events::of_seats(transaction, &askers, given_up, now).await
}

/// Ends all open sessions of a user. Such a command is alone in its group.
async fn end_all(
    transaction: &DatabaseTransaction,
    index: usize,
    end: &EndSessions,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<Vec<Told>, DbErr> {
    let mut user = Rows::new(USER);
    user.push([end.user.as_str().into(), now.0.into()]);
    let ended = user
        .clone()
        .query(
            transaction,
            "UPDATE app_sessions SET ended_at = v.at FROM v \
             WHERE app_sessions.user_id = v.user_id AND app_sessions.ended_at IS NULL \
             RETURNING app_sessions.id",
        )
        .await?;
    let sessions: Result<Vec<SessionId>, DbErr> = ended
        .iter()
        .map(|row| row.try_get_by_index(0).map(SessionId))
        .collect();
    // By the sessions and not by the user: a session that is opened at this moment keeps its seat.
    let given_up = user
        .query(
            transaction,
            "DELETE FROM room_seats WHERE session_id IN (SELECT id FROM app_sessions \
             WHERE ended_at IS NOT NULL AND user_id IN (SELECT user_id FROM v)) \
             RETURNING room_id, session_id, seat, team, user_id",
        )
        .await?;
    let mut seats = Vec::with_capacity(given_up.len());
    for row in &given_up {
        let room = RoomId(row.try_get_by_index(0)?);
        seats.push((SessionId(row.try_get_by_index(1)?), room));
    }
    let codes = codes(transaction, &seats).await?;
    let askers: Vec<Asker> = seats
        .iter()
        .map(|(session, _)| Asker {
            index,
            session: *session,
            change: SessionChange::Ended,
        })
        .collect();
    let seats = seats.into_iter();
    let ended = EndedSessions {
        sessions: sessions?,
        seats: seats
            .filter_map(|(session, room)| Some((session, room, *codes.get(&room)?)))
            .collect(),
        told: Vec::new(),
    };
    outcomes.commit(index, Committed::AllEnded(ended));
    session_events::of_seats(transaction, &askers, given_up, now).await
}

/// Returns the codes of the rooms of these seats.
async fn codes(
    transaction: &DatabaseTransaction,
    seats: &[(SessionId, RoomId)],
) -> Result<HashMap<RoomId, RoomCode>, DbErr> {
    let mut rooms = Rows::new(&[("id", Type::Uuid)]);
    for (_, room) in seats {
        rooms.push([room.0.into()]);
    }
    let sql = "SELECT rooms.id, rooms.code FROM v JOIN rooms ON rooms.id = v.id";
    let mut codes = HashMap::with_capacity(seats.len());
    for row in rooms.query(transaction, sql).await? {
        let id: Uuid = row.try_get_by_index(0)?;
        let code: String = row.try_get_by_index(1)?;
        let code = code.parse();
        codes.insert(
            RoomId(id),
            code.map_err(|_| DbErr::Type("a stored room code is invalid".into()))?,
        );
    }
    Ok(codes)
}

async fn close_rooms(
    transaction: &DatabaseTransaction,
    closes: &[(usize, Uuid)],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(ENDED);
    for (_, room) in closes {
        rows.push([(*room).into(), now.0.into()]);
    }
    let closed = rows
        .query(
            transaction,
            "UPDATE rooms SET status = 'closed', closed_at = v.at FROM v \
             WHERE rooms.id = v.id AND rooms.closed_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM room_seats WHERE room_seats.room_id = rooms.id) \
             RETURNING rooms.id",
        )
        .await?;
    let mut ids: HashSet<Uuid> = HashSet::with_capacity(closed.len());
    for row in closed {
        ids.insert(row.try_get_by_index(0)?);
    }
    for (index, room) in closes {
        outcomes.done_or(Refused::RoomChanged, *index, ids.remove(room));
    }
    Ok(())
}

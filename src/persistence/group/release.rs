//! What frees: seats are released, sessions end, rooms close.

use std::collections::HashSet;

use sea_orm::{DatabaseTransaction, DbErr, QueryResult};
use uuid::Uuid;

use super::Outcomes;
use crate::clock::HubTime;
use crate::id::{RoomId, UserId};
use crate::persistence::queue::Item;
use crate::persistence::rows::{Columns, Rows, Type};
use crate::persistence::{
    Command, Committed, EndSession, NewPublication, ReleaseSeat, StreamId, VacatedSeat,
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

const ENDED: Columns = &[("id", Type::Uuid), ("at", Type::Int)];

const GIVEN_UP: Columns = &[
    ("room_id", Type::Uuid),
    ("session_id", Type::Uuid),
    ("seat", Type::Int),
    ("team", Type::TextOrNull),
    ("user_id", Type::Text),
];

/// What a durable stream is to tell of a seat that was given up with its session.
pub(super) struct Vacated {
    /// The place of the command that ended the session.
    pub(super) index: usize,
    pub(super) stream: StreamId,
    pub(super) publication: NewPublication,
}

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<Vec<Vacated>, DbErr> {
    let mut releases = Vec::new();
    let mut ends = Vec::new();
    let mut closes = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if outcomes.is_settled(index) {
            continue;
        }
        match &item.command {
            Command::ReleaseSeat(release) => releases.push((index, release)),
            Command::EndSession(end) => ends.push((index, end)),
            Command::CloseRoom(room) => closes.push((index, room.0)),
            Command::OpenSession(_)
            | Command::OpenRoom(_)
            | Command::ClaimSeat(_)
            | Command::HoldSeat(_)
            | Command::ConfirmToken(_)
            | Command::EndTokens(_)
            | Command::Publish(_)
            | Command::RemoveHistory(_)
            | Command::AddToken(_)
            | Command::Sweep(_)
            | Command::Nothing => {}
        }
    }
    release_seats(transaction, &releases, outcomes).await?;
    let vacated = end_sessions(transaction, &ends, now, outcomes).await?;
    close_rooms(transaction, &closes, now, outcomes).await?;
    Ok(vacated)
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
        outcomes.done_or_stale(*index, freed.remove(&seat));
    }
    Ok(())
}

async fn end_sessions(
    transaction: &DatabaseTransaction,
    ends: &[(usize, &EndSession)],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<Vec<Vacated>, DbErr> {
    let mut ended = Rows::new(ENDED);
    let mut left = Rows::new(&[("id", Type::Uuid)]);
    for (index, end) in ends {
        ended.push([end.session.0.into(), now.0.into()]);
        left.push([end.session.0.into()]);
        // Ending what has ended, or was swept, changes nothing and is done.
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
    vacated(transaction, ends, given_up, now).await
}

/// The seats among those given up of which a durable stream is to tell.
async fn vacated(
    transaction: &DatabaseTransaction,
    ends: &[(usize, &EndSession)],
    given_up: Vec<QueryResult>,
    now: HubTime,
) -> Result<Vec<Vacated>, DbErr> {
    let mut rows = Rows::new(GIVEN_UP);
    for row in given_up {
        rows.push([
            row.try_get_by_index::<Uuid>(0)?.into(),
            row.try_get_by_index::<Uuid>(1)?.into(),
            i64::from(row.try_get_by_index::<i32>(2)?).into(),
            row.try_get_by_index::<Option<String>>(3)?.into(),
            row.try_get_by_index::<String>(4)?.into(),
        ]);
    }
    let told = rows
        .query(
            transaction,
            "SELECT v.room_id, v.session_id, v.seat, v.team, v.user_id, u.name, r.stream_epoch \
             FROM v JOIN rooms r ON r.id = v.room_id AND r.stream_durable \
             JOIN users u ON u.id = v.user_id",
        )
        .await?;
    let mut vacated = Vec::with_capacity(told.len());
    for row in told {
        let session: Uuid = row.try_get_by_index(1)?;
        let of_session = ends.iter().find(|(_, end)| end.session.0 == session);
        let Some((index, end)) = of_session else {
            continue;
        };
        let seat = vacated_seat(&row)?;
        vacated.push(Vacated {
            index: *index,
            publication: (end.words)(&seat, now),
            stream: seat.stream,
        });
    }
    Ok(vacated)
}

fn vacated_seat(row: &QueryResult) -> Result<VacatedSeat, DbErr> {
    let number: i64 = row.try_get_by_index(2)?;
    let user: String = row.try_get_by_index(4)?;
    let team: Option<String> = row.try_get_by_index(3)?;
    let (name, epoch): (String, String) = (row.try_get_by_index(5)?, row.try_get_by_index(6)?);
    Ok(VacatedSeat {
        stream: StreamId {
            room: RoomId(row.try_get_by_index(0)?),
            epoch: epoch.into(),
            begins_after: None,
        },
        number: u16::try_from(number).map_err(|error| DbErr::Type(error.to_string()))?,
        team: team.map(Into::into),
        user: UserId::parse(&user).map_err(|error| DbErr::Type(error.to_string()))?,
        user_name: name.into(),
    })
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
        outcomes.done_or_stale(*index, ids.remove(room));
    }
    Ok(())
}

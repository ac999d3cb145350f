//! Rooms and seats: the rows that two may want.

use std::collections::HashSet;

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::entry::Entry;
use crate::clock::{HubTime, millis};
use crate::persistence::Refused;
use crate::persistence::rows::{Columns, Rows, Type};

const ROOM: Columns = &[
    ("id", Type::Uuid),
    ("code", Type::Text),
    ("kind", Type::Text),
    ("settings", Type::Text),
    ("grace", Type::Int),
    ("stream_epoch", Type::Text),
    ("created_at", Type::Int),
];

const SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("team", Type::TextOrNull),
    ("session_id", Type::Uuid),
    ("user_id", Type::Text),
    ("status", Type::Text),
    ("seen_at", Type::Int),
    ("away_since", Type::IntOrNull),
    ("hold_until", Type::IntOrNull),
    ("token_generation", Type::Int),
    ("tokens_ended", Type::Int),
];

const PARTICIPANT: Columns = &[
    ("room_id", Type::Uuid),
    ("user_id", Type::Text),
    ("at", Type::Int),
];

/// Inserts the new rooms; an entry whose code is taken drops out.
pub(super) async fn open_rooms(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(ROOM);
    for room in entries.iter().filter_map(|entry| entry.room) {
        rows.push([
            room.id.0.into(),
            room.code.as_str().into(),
            (&*room.kind).into(),
            (&*room.settings).into(),
            millis(room.grace).into(),
            (&*room.stream_epoch).into(),
            now.0.into(),
        ]);
    }
    // Only the code may clash: a known id would be a bug, and fails the group.
    let inserted = rows
        .query(
            transaction,
            "INSERT INTO rooms (id, code, kind, status, settings, grace, stream_epoch, stream_top, \
             owner_epoch, created_at) \
             SELECT id, code, kind, 'open', settings, grace, stream_epoch, 0, 0, created_at \
             FROM v WHERE true ON CONFLICT (code) DO NOTHING RETURNING id",
        )
        .await?;
    let mut opened: HashSet<Uuid> = HashSet::with_capacity(inserted.len());
    for row in inserted {
        opened.insert(row.try_get_by_index(0)?);
    }
    entries.retain(|entry| {
        let is_in = entry.room.is_none_or(|room| opened.contains(&room.id.0));
        if !is_in {
            outcomes.refuse(entry.index, Refused::CodeTaken);
        }
        is_in
    });
    Ok(())
}

/// Inserts the seats; an entry whose seat is taken, or whose user already sits in the room, drops out.
pub(super) async fn claim(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(SEAT);
    for entry in entries.iter() {
        let Some((room, seat)) = entry.seat else {
            continue;
        };
        let is_away = seat.hold_until.is_some();
        rows.push([
            room.0.into(),
            i64::from(seat.number).into(),
            seat.team.as_deref().map(str::to_owned).into(),
            entry.session.id().0.into(),
            entry.user.id().as_str().into(),
            if is_away { "away" } else { "held" }.into(),
            now.0.into(),
            is_away.then_some(now.0).into(),
            seat.hold_until.map(|hold| hold.0).into(),
            seat.tokens.confirmed.into(),
            seat.tokens.ended.into(),
        ]);
    }
    let inserted = rows
        .query(
            transaction,
            "INSERT INTO room_seats (room_id, seat, team, session_id, user_id, status, \
             last_heartbeat_at, away_since, hold_until, token_generation, tokens_ended) \
             SELECT room_id, seat, team, session_id, user_id, status, seen_at, away_since, \
             hold_until, token_generation, tokens_ended FROM v WHERE true ON CONFLICT DO NOTHING \
             RETURNING room_id, seat, session_id",
        )
        .await?;
    let mut claimed: HashSet<(Uuid, i32, Uuid)> = HashSet::with_capacity(inserted.len());
    for row in inserted {
        claimed.insert((
            row.try_get_by_index(0)?,
            row.try_get_by_index(1)?,
            row.try_get_by_index(2)?,
        ));
    }
    entries.retain(|entry| {
        let Some((room, seat)) = entry.seat else {
            return true;
        };
        // Taken out of the set: the same claim twice in a group wins once, and the earlier one does.
        let key = (room.0, i32::from(seat.number), entry.session.id().0);
        let is_in = claimed.remove(&key);
        if !is_in {
            outcomes.refuse(entry.index, Refused::SeatTaken);
        }
        is_in
    });
    Ok(())
}

/// Makes the seated users participants of their room's event. Their score stays if they were before.
pub(super) async fn enrol(
    transaction: &DatabaseTransaction,
    entries: &[Entry<'_>],
    now: HubTime,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(PARTICIPANT);
    for entry in entries {
        if let Some((room, _)) = entry.seat {
            let user = entry.user.id().as_str().into();
            rows.push([room.0.into(), user, now.0.into()]);
        }
    }
    rows.execute(
        transaction,
        "INSERT INTO event_participants (room_id, user_id, score, created_at) \
         SELECT room_id, user_id, 0, at FROM v WHERE true ON CONFLICT DO NOTHING",
    )
    .await?;
    Ok(())
}

//! Redeemed seat tokens: the seat moves to a new session, or its tokens end.

use std::collections::HashSet;

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::player_command::Entry;
use crate::clock::HubTime;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{Command, Refused, SeatCommand};

const CONFIRMED: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("from_id", Type::Uuid),
    ("user_id", Type::Text),
    ("to_id", Type::Uuid),
    ("generation", Type::Int),
    ("ended", Type::Int),
    ("at", Type::Int),
    ("hold_until", Type::Int),
];

const ENDED: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("session_id", Type::Uuid),
    ("generation", Type::Int),
    ("ended", Type::Int),
];

/// Moves seats to new sessions of their users. An entry whose seat has changed hands is refused and dropped.
pub(super) async fn confirm(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(CONFIRMED);
    for entry in entries.iter() {
        let Some(taken) = entry.taken else {
            continue;
        };
        rows.push([
            taken.room.0.into(),
            i64::from(taken.seat).into(),
            taken.from.0.into(),
            entry.user.id().as_str().into(),
            taken.session.id.0.into(),
            taken.tokens.confirmed.into(),
            taken.tokens.ended.into(),
            now.0.into(),
            taken.hold_until.0.into(),
        ]);
    }
    let moved = rows
        .query(
            transaction,
            "UPDATE room_seats SET session_id = v.to_id, token_generation = v.generation, \
             tokens_ended = v.ended, status = 'away', last_heartbeat_at = v.at, away_since = v.at, \
             hold_until = v.hold_until FROM v \
             WHERE room_seats.room_id = v.room_id AND room_seats.seat = v.seat \
             AND room_seats.session_id = v.from_id AND room_seats.user_id = v.user_id \
             AND room_seats.token_generation <= v.generation \
             RETURNING room_seats.session_id",
        )
        .await?;
    let mut seated: HashSet<Uuid> = HashSet::with_capacity(moved.len());
    for row in moved {
        seated.insert(row.try_get_by_index(0)?);
    }
    entries.retain(|entry| {
        let is_in = entry
            .taken
            .is_none_or(|taken| seated.contains(&taken.session.id.0));
        if !is_in {
            outcomes.refuse(entry.index, Refused::SeatChanged);
        }
        is_in
    });
    Ok(())
}

/// Ends all tokens signed for seats of which an outdated token was used again.
pub(super) async fn end(
    transaction: &DatabaseTransaction,
    items: &[Item],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(ENDED);
    let mut ends = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Command::Seat(SeatCommand::EndTokens(end)) = &item.command else {
            continue;
        };
        rows.push([
            end.room.0.into(),
            i64::from(end.seat).into(),
            end.session.0.into(),
            end.tokens.confirmed.into(),
            end.tokens.ended.into(),
        ]);
        ends.push((index, (end.room.0, i32::from(end.seat))));
    }
    let changed = rows
        .query(
            transaction,
            "UPDATE room_seats SET token_generation = v.generation, tokens_ended = v.ended FROM v \
             WHERE room_seats.room_id = v.room_id AND room_seats.seat = v.seat \
             AND room_seats.session_id = v.session_id \
             RETURNING room_seats.room_id, room_seats.seat",
        )
        .await?;
    let mut ended: HashSet<(Uuid, i32)> = HashSet::with_capacity(changed.len());
    for row in changed {
        ended.insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    }
    for (index, seat) in ends {
        outcomes.done_or(Refused::SeatChanged, index, ended.contains(&seat));
    }
    Ok(())
}

//! Statements that extend the holds of away seats.

use std::collections::{HashMap, HashSet};

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use crate::clock::HubTime;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{Command, Refused, SeatCommand};

const HOLD: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("session_id", Type::Uuid),
    ("at", Type::Int),
    ("hold_until", Type::Int),
];

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut asked = Vec::new();
    // One row for each seat: with two, the database would choose which one the UPDATE takes.
    let mut longest: HashMap<(Uuid, i32, Uuid), HubTime> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        if let Command::Seat(SeatCommand::Hold(hold)) = &item.command
            && !outcomes.is_settled(index)
        {
            let seat = (hold.room.0, i32::from(hold.seat), hold.session.0);
            let until = longest.entry(seat).or_insert(hold.hold_until);
            *until = hold.hold_until.max(*until);
            asked.push((index, seat));
        }
    }
    let mut rows = Rows::new(HOLD);
    for ((room, seat, session), until) in &longest {
        rows.push([
            (*room).into(),
            i64::from(*seat).into(),
            (*session).into(),
            now.0.into(),
            until.0.into(),
        ]);
    }
    // The coalesced write that makes the seat away may still be waiting; the room queues another if its holder is
    // back.
    let kept = rows
        .query(
            transaction,
            "UPDATE room_seats SET status = 'away', away_since = COALESCE(away_since, v.at), \
             hold_until = v.hold_until FROM v \
             WHERE room_seats.room_id = v.room_id AND room_seats.seat = v.seat \
             AND room_seats.session_id = v.session_id \
             RETURNING room_seats.room_id, room_seats.seat, room_seats.session_id",
        )
        .await?;
    let mut found: HashSet<(Uuid, i32, Uuid)> = HashSet::with_capacity(kept.len());
    for row in kept {
        found.insert((
            row.try_get_by_index(0)?,
            row.try_get_by_index(1)?,
            row.try_get_by_index(2)?,
        ));
    }
    for (index, seat) in asked {
        outcomes.done_or(Refused::SeatChanged, index, found.contains(&seat));
    }
    Ok(())
}

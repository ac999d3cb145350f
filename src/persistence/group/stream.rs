//! Durable streams: publications get their offsets in the transaction that stores them.

use std::collections::HashMap;

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use crate::persistence::publication::{Insert, offset, stored_offset};
use crate::persistence::queue::Item;
use crate::persistence::rows::{Columns, Rows, Type};
use crate::persistence::{Command, Committed, Publish, Refused, RemoveHistory, StoredPublication};

const TOP: Columns = &[
    ("room_id", Type::Uuid),
    ("epoch", Type::Text),
    ("number", Type::Int),
    ("begins_after", Type::IntOrNull),
];

const REMOVED: Columns = &[
    ("room_id", Type::Uuid),
    ("epoch", Type::Text),
    ("up_to", Type::Int),
];

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut batches = Vec::new();
    let mut removals = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match &item.command {
            Command::Publish(publish) => batches.push((index, publish)),
            Command::RemoveHistory(removal) => removals.push((index, removal)),
            Command::OpenSession(_)
            | Command::OpenRoom(_)
            | Command::ClaimSeat(_)
            | Command::ReleaseSeat(_)
            | Command::HoldSeat(_)
            | Command::ConfirmToken(_)
            | Command::EndTokens(_)
            | Command::EndSession(_)
            | Command::CloseRoom(_)
            | Command::AddToken(_)
            | Command::Sweep(_)
            | Command::Nothing => {}
        }
    }
    publish(transaction, &batches, outcomes).await?;
    remove(transaction, &removals, outcomes).await
}

/// Moves the tops on first: the row of the room is what two might want.
async fn publish(
    transaction: &DatabaseTransaction,
    batches: &[(usize, &Publish)],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(TOP);
    for (_, publish) in batches {
        rows.push([
            publish.stream.room.0.into(),
            (&*publish.stream.epoch).into(),
            stored_offset(publish.publications.len() as u64),
            publish
                .stream
                .begins_after
                .map(|after| i64::try_from(after).unwrap_or(i64::MAX))
                .into(),
        ]);
    }
    let moved = rows
        .query(
            transaction,
            "UPDATE rooms SET stream_durable = true, stream_epoch = v.epoch, \
             stream_top = v.number + CASE WHEN rooms.stream_durable AND rooms.stream_epoch = v.epoch \
             THEN rooms.stream_top ELSE v.begins_after END \
             FROM v WHERE rooms.id = v.room_id AND (v.begins_after IS NOT NULL \
             OR (rooms.stream_durable AND rooms.stream_epoch = v.epoch)) \
             RETURNING rooms.id, rooms.stream_top",
        )
        .await?;
    let mut tops: HashMap<Uuid, u64> = HashMap::with_capacity(moved.len());
    for row in moved {
        tops.insert(row.try_get_by_index(0)?, offset(row.try_get_by_index(1)?));
    }
    let mut insert = Insert::durable();
    for (index, publish) in batches {
        let Some(top) = tops.get(&publish.stream.room.0) else {
            outcomes.refuse(*index, Refused::Stale);
            continue;
        };
        let first = top + 1 - publish.publications.len() as u64;
        for (offset, new) in (first..).zip(publish.publications.iter()) {
            let publication = StoredPublication {
                offset,
                data: new.data.clone(),
                info: new.info.clone(),
                tags: new.tags.clone(),
                time: new.time,
            };
            let (room, epoch) = (publish.stream.room, &publish.stream.epoch);
            insert.push(transaction, room, epoch, &publication).await?;
        }
        outcomes.commit(*index, Committed::Published { first });
    }
    insert.flush(transaction).await
}

async fn remove(
    transaction: &DatabaseTransaction,
    removals: &[(usize, &RemoveHistory)],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(REMOVED);
    for (index, removal) in removals {
        rows.push([
            removal.room.0.into(),
            (&*removal.epoch).into(),
            stored_offset(removal.up_to),
        ]);
        // What is not there any more needs no removing.
        outcomes.commit(*index, Committed::Done);
    }
    rows.execute(
        transaction,
        "DELETE FROM room_publications WHERE (room_id, epoch, \"offset\") IN \
         (SELECT p.room_id, p.epoch, p.\"offset\" FROM v CROSS JOIN room_publications p \
         WHERE p.room_id = v.room_id AND p.epoch = v.epoch AND p.\"offset\" <= v.up_to)",
    )
    .await?;
    Ok(())
}

//! Durable streams: publications get their offsets in the transaction that stores them.

use std::borrow::Cow;
use std::collections::HashMap;

use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::session_events::Told;
use crate::persistence::database::publication_rows::{Insert, offset, stored_offset};
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{
    Command, Committed, NewPublication, Offsets, Refused, RemoveHistory, SessionNews,
    StoredPublication, StreamCommand, StreamId,
};

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

/// The publications for one stream.
struct Batch<'a> {
    index: usize,
    stream: &'a StreamId,
    publications: Cow<'a, [NewPublication]>,
    sort: Sort,
}

/// The relation of publications to their command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// The command publishes them.
    Asked,
    /// They are the room events of the command.
    News,
    /// They are events about a session that the command changes.
    Session,
}

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    told: Vec<Told>,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut batches = Vec::new();
    let mut removals = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let (Some(news), Some(committed)) = (&item.news, outcomes.committed(index)) {
            batches.push(Batch {
                index,
                stream: &news.stream,
                publications: news.publications(committed).into(),
                sort: Sort::News,
            });
        }
        match &item.command {
            // A replay, already answered under its key.
            Command::Stream(StreamCommand::Publish(_)) if outcomes.is_settled(index) => {}
            Command::Stream(StreamCommand::Publish(publish)) => batches.push(Batch {
                index,
                stream: &publish.stream,
                publications: (&*publish.publications).into(),
                sort: Sort::Asked,
            }),
            Command::Stream(StreamCommand::RemoveHistory(removal)) => {
                removals.push((index, removal));
            }
            Command::Seat(_) | Command::Room(_) | Command::Session(_) | Command::Maintenance(_) => {
            }
        }
    }
    batches.extend(told.iter().map(|told| Batch {
        index: told.index,
        stream: &told.stream,
        publications: std::slice::from_ref(&told.publication).into(),
        sort: Sort::Session,
    }));
    publish(transaction, &batches, outcomes).await?;
    remove(transaction, &removals, outcomes).await
}

/// Publishes the batches. It moves the tops on first, because the room's row is the contended one.
async fn publish(
    transaction: &DatabaseTransaction,
    batches: &[Batch<'_>],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(TOP);
    for batch in batches {
        rows.push([
            batch.stream.room.0.into(),
            (&*batch.stream.epoch).into(),
            stored_offset(batch.publications.len() as u64),
            batch
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
    for batch in batches {
        let Some(top) = tops.get(&batch.stream.room.0) else {
            refuse(batch, outcomes)?;
            continue;
        };
        let first = top + 1 - batch.publications.len() as u64;
        for (offset, new) in (first..).zip(batch.publications.iter()) {
            let publication = StoredPublication {
                offset,
                data: new.data.clone(),
                info: new.info.clone(),
                tags: new.tags.clone(),
                time: new.time,
            };
            let (room, epoch) = (batch.stream.room, &batch.stream.epoch);
            insert.push(transaction, room, epoch, &publication).await?;
        }
        match batch.sort {
            Sort::Asked => outcomes.commit(batch.index, Committed::Published { first }),
            Sort::News => outcomes.tell(batch.index, Offsets { first, last: *top }),
            Sort::Session => {
                for (offset, publication) in (first..).zip(batch.publications.iter()) {
                    let (room, publication) = (batch.stream.room, publication.clone());
                    let news = SessionNews {
                        room,
                        offset,
                        publication,
                    };
                    outcomes.tell_of_session(batch.index, news);
                }
            }
        }
    }
    insert.flush(transaction).await
}

/// Refuses a batch for another stream. If it describes a change, that is carried out already and must be rolled back.
fn refuse(batch: &Batch<'_>, outcomes: &mut Outcomes) -> Result<(), DbErr> {
    if batch.sort != Sort::Asked {
        let error = format!("no such stream for room events: {:?}", batch.stream);
        return Err(DbErr::Custom(error));
    }
    outcomes.refuse(batch.index, Refused::StreamChanged);
    Ok(())
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
        // Removing publications that are gone changes nothing and succeeds.
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

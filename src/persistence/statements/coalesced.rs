//! Coalesced writes: each applies only while its row still belongs to the session.

use sea_orm::{DatabaseTransaction, DbErr, Value};

use super::NODE;
use crate::clock::HubTime;
use crate::id::{RoomId, SessionId};
use crate::persistence::SoftWrite;
use crate::persistence::database::publication_rows::stored_offset;
use crate::persistence::database::rows::{Columns, Rows, Type};

const SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("session_id", Type::Uuid),
    ("status", Type::Text),
    ("seen_at", Type::Int),
    ("away_since", Type::IntOrNull),
    ("hold_until", Type::IntOrNull),
];

const SESSION: Columns = &[
    ("id", Type::Uuid),
    ("user_id", Type::Text),
    ("seen_at", Type::Int),
    ("expires_at", Type::Int),
    ("login_until", Type::IntOrNull),
];

const HISTORY: Columns = &[
    ("room_id", Type::Uuid),
    ("epoch", Type::Text),
    ("below", Type::Int),
];

/// Publications that one group prunes, so that a large history delays no one. The rest goes with a later group.
const PRUNED_MAX: u64 = 4096;

const CLOCK: Columns = &[("node", Type::Text), ("at", Type::Int)];

/// Applies the coalesced writes, and returns those that are not finished.
pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    marks: &[SoftWrite],
) -> Result<Vec<SoftWrite>, DbErr> {
    let mut seats = Rows::new(SEAT);
    let mut sessions = Rows::new(SESSION);
    let mut histories = Rows::new(HISTORY);
    let mut clock = Rows::new(CLOCK);
    for mark in marks {
        match mark {
            SoftWrite::SeatAway {
                room,
                seat: number,
                session,
                since,
                hold_until,
            } => seats.push(seat((*room, *number), *session, *since, Some(*hold_until))),
            SoftWrite::SeatBack {
                room,
                seat: number,
                session,
                at,
            } => seats.push(seat((*room, *number), *session, *at, None)),
            SoftWrite::SessionSeen {
                session,
                user,
                at,
                expires_at,
                login_until,
            } => sessions.push([
                session.0.into(),
                user.as_str().into(),
                at.0.into(),
                expires_at.0.into(),
                login_until.map(|until| until.0).into(),
            ]),
            SoftWrite::PruneHistory { room, epoch, below } => {
                histories.push([room.0.into(), (&**epoch).into(), stored_offset(*below)]);
            }
            SoftWrite::Heartbeat { at } => clock.push([NODE.into(), at.0.into()]),
        }
    }
    seats
        .execute(
            transaction,
            "UPDATE room_seats SET status = v.status, last_heartbeat_at = v.seen_at, \
             away_since = v.away_since, hold_until = v.hold_until FROM v \
             WHERE room_seats.room_id = v.room_id AND room_seats.seat = v.seat \
             AND room_seats.session_id = v.session_id",
        )
        .await?;
    slide(transaction, sessions).await?;
    beat(transaction, clock).await?;
    if prune(transaction, histories).await? {
        return Ok(Vec::new());
    }
    let left = marks.iter().filter(|mark| is_prune(mark));
    Ok(left.cloned().collect())
}

/// Returns the row of a seat that is away until the end of its hold, or held.
fn seat(
    (room, number): (RoomId, u16),
    session: SessionId,
    at: HubTime,
    hold_until: Option<HubTime>,
) -> [Value; 7] {
    let status = match hold_until {
        Some(_) => "away",
        None => "held",
    };
    [
        room.0.into(),
        i64::from(number).into(),
        session.0.into(),
        status.into(),
        at.0.into(),
        hold_until.map(|_| at.0).into(),
        hold_until.map(|end| end.0).into(),
    ]
}

fn is_prune(mark: &SoftWrite) -> bool {
    match mark {
        SoftWrite::PruneHistory { .. } => true,
        SoftWrite::SeatAway { .. }
        | SoftWrite::SeatBack { .. }
        | SoftWrite::SessionSeen { .. }
        | SoftWrite::Heartbeat { .. } => false,
    }
}

/// Moves the expiry of sessions that were used.
async fn slide(transaction: &DatabaseTransaction, sessions: Rows) -> Result<(), DbErr> {
    sessions
        .execute(
            transaction,
            "UPDATE app_sessions SET last_seen_at = v.seen_at, expires_at = v.expires_at, \
             login_until = v.login_until FROM v \
             WHERE app_sessions.id = v.id AND app_sessions.user_id = v.user_id \
             AND app_sessions.ended_at IS NULL",
        )
        .await?;
    Ok(())
}

async fn beat(transaction: &DatabaseTransaction, clock: Rows) -> Result<(), DbErr> {
    clock
        .execute(
            transaction,
            "INSERT INTO hub_clock (node, last_heartbeat_at, clean_stop) \
             SELECT node, at, false FROM v WHERE true \
             ON CONFLICT (node) DO UPDATE SET last_heartbeat_at = excluded.last_heartbeat_at",
        )
        .await?;
    Ok(())
}

/// Deletes publications below an offset. Returns whether none is left.
async fn prune(transaction: &DatabaseTransaction, histories: Rows) -> Result<bool, DbErr> {
    let sql = format!(
        "DELETE FROM room_publications WHERE (room_id, epoch, \"offset\") IN \
         (SELECT p.room_id, p.epoch, p.\"offset\" FROM v CROSS JOIN room_publications p \
         WHERE p.room_id = v.room_id AND p.epoch = v.epoch AND p.\"offset\" < v.below \
         LIMIT {PRUNED_MAX})"
    );
    Ok(histories.execute(transaction, &sql).await? < PRUNED_MAX)
}

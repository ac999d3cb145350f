//! The start of a run: what time without a hub does to holds, and where streams stand.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement, Value};

use super::StoredPublication;
use super::publication::publication;
use crate::clock::HubTime;
use crate::id::RoomId;

/// The one node of a hub that is not a cluster.
pub(super) const NODE: &str = "main";

/// The least that is left of a hold after a crash, unless the room's own is shorter: the mark that its
/// holder was back may not have been written. The SDKs wait no longer between two tries.
const HOLD_MIN: Duration = Duration::from_secs(20);

/// What the start of a run found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStart {
    /// Whether the last run stopped as planned, so that memory streams go on.
    pub is_clean: bool,
    /// Time without a hub, which no hold and no seated session is charged for.
    pub down_for: Duration,
}

/// The histories that the last run wrote out, until they are handed to their rooms.
#[derive(Debug, Default)]
pub(super) struct TakenOver {
    pub(super) is_clean: bool,
    pub(super) histories: HashMap<RoomId, Vec<StoredPublication>>,
}

/// Shifts the holds, takes the written-out histories over, and marks the hub as running. Durable streams
/// stay as they are, but for those of kinds that are configured without one now.
///
/// Safe to do again: what was shifted counts from the heartbeat that the same commit wrote.
pub(super) async fn begin(
    writer: &DatabaseConnection,
    memory_kinds: &[String],
    now: HubTime,
) -> Result<(RunStart, TakenOver), DbErr> {
    let transaction = super::transaction::begin(writer).await?;
    let stored = run(
        &transaction,
        "SELECT last_heartbeat_at, clean_stop FROM hub_clock WHERE node = $1",
        [NODE.into()],
    )
    .one()
    .await?;
    let (last, is_clean) = match stored {
        Some(row) => (HubTime(row.try_get_by_index(0)?), row.try_get_by_index(1)?),
        None => (now, false),
    };
    let least = if is_clean { Duration::ZERO } else { HOLD_MIN };
    shift(&transaction, last, now, least).await?;
    let mut taken = TakenOver {
        is_clean,
        histories: HashMap::new(),
    };
    end_durability(&transaction, memory_kinds).await?;
    if is_clean {
        // Only a planned stop writes memory streams out, so without one there are none.
        taken.histories = histories(&transaction).await?;
        run(
            &transaction,
            "DELETE FROM room_publications WHERE room_id IN \
             (SELECT id FROM rooms WHERE NOT stream_durable)",
            [],
        )
        .execute()
        .await?;
    }
    write_clock(&transaction, now, false).await?;
    transaction.commit().await?;
    let start = RunStart {
        is_clean,
        down_for: now.since(last),
    };
    Ok((start, taken))
}

async fn shift(
    transaction: &DatabaseTransaction,
    last: HubTime,
    now: HubTime,
    least: Duration,
) -> Result<(), DbErr> {
    let delta = now.0.saturating_sub(last.0);
    // Held at the end of the last run, or away with a hold that ended while the hub ran: its holder may
    // have been there, so the hold begins anew. Any other hold has left what it had at the hub's last
    // sign of life, which for a hold younger than the heartbeat is its own beginning; but never so little
    // that a holder who was back without a mark of it could not come back once more.
    let left = "(hold_until - CASE WHEN away_since > $1 THEN away_since ELSE $1 END)";
    let sql = format!(
        "UPDATE room_seats SET status = 'away', \
         away_since = CASE WHEN status = 'held' OR hold_until <= $1 OR away_since > $1 THEN $2 \
         ELSE away_since + $3 END, \
         hold_until = $2 + CASE WHEN status = 'held' OR hold_until <= $1 THEN r.grace \
         WHEN {left} >= r.least THEN {left} ELSE r.least END \
         FROM (SELECT id, grace, CASE WHEN grace < $4 THEN grace ELSE $4 END AS least FROM rooms) AS r \
         WHERE r.id = room_seats.room_id"
    );
    let least = i64::try_from(least.as_millis()).unwrap_or(i64::MAX);
    let values = [last.0.into(), now.0.into(), delta.into(), least.into()];
    run(transaction, &sql, values).execute().await?;
    run(
        transaction,
        "UPDATE app_sessions SET expires_at = expires_at + $1 \
         WHERE ended_at IS NULL AND id IN (SELECT session_id FROM room_seats)",
        [delta.into()],
    )
    .execute()
    .await
}

async fn histories(
    transaction: &DatabaseTransaction,
) -> Result<HashMap<RoomId, Vec<StoredPublication>>, DbErr> {
    let rows = run(
        transaction,
        "SELECT p.room_id, p.\"offset\", p.data, p.info, p.tags, p.time FROM room_publications p \
         JOIN rooms r ON r.id = p.room_id AND r.stream_epoch = p.epoch \
         WHERE NOT r.stream_durable ORDER BY p.room_id, p.\"offset\"",
        [],
    )
    .all()
    .await?;
    let mut histories: HashMap<RoomId, Vec<StoredPublication>> = HashMap::new();
    for row in rows {
        let room = RoomId(row.try_get_by_index(0)?);
        let history = histories.entry(room).or_default();
        history.push(publication(&row, 1)?);
    }
    Ok(histories)
}

/// A kind that is configured without a durable history has none: were it to have one again later, the
/// offsets between would be missing in silence.
async fn end_durability(
    transaction: &DatabaseTransaction,
    memory_kinds: &[String],
) -> Result<(), DbErr> {
    let sql = "SELECT DISTINCT kind FROM rooms WHERE stream_durable";
    for row in run(transaction, sql, []).all().await? {
        let kind: String = row.try_get_by_index(0)?;
        if !memory_kinds.contains(&kind) {
            continue;
        }
        for sql in [
            "DELETE FROM room_publications WHERE room_id IN \
             (SELECT id FROM rooms WHERE stream_durable AND kind = $1)",
            "UPDATE rooms SET stream_durable = false, stream_epoch = '', stream_top = 0 \
             WHERE stream_durable AND kind = $1",
        ] {
            let kind = kind.as_str().into();
            run(transaction, sql, [kind]).execute().await?;
        }
    }
    Ok(())
}

pub(super) async fn write_clock(
    transaction: &DatabaseTransaction,
    now: HubTime,
    clean_stop: bool,
) -> Result<(), DbErr> {
    run(
        transaction,
        "INSERT INTO hub_clock (node, last_heartbeat_at, clean_stop) VALUES ($1, $2, $3) \
         ON CONFLICT (node) DO UPDATE SET last_heartbeat_at = excluded.last_heartbeat_at, \
         clean_stop = excluded.clean_stop",
        [NODE.into(), now.0.into(), clean_stop.into()],
    )
    .execute()
    .await
}

/// A statement about to run in a transaction.
struct Run<'a> {
    transaction: &'a DatabaseTransaction,
    statement: Statement,
}

fn run<'a, const N: usize>(
    transaction: &'a DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Run<'a> {
    let backend = transaction.get_database_backend();
    Run {
        transaction,
        statement: Statement::from_sql_and_values(backend, sql, values),
    }
}

impl Run<'_> {
    async fn one(self) -> Result<Option<sea_orm::QueryResult>, DbErr> {
        self.transaction.query_one_raw(self.statement).await
    }

    async fn all(self) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
        self.transaction.query_all_raw(self.statement).await
    }

    async fn execute(self) -> Result<(), DbErr> {
        self.transaction.execute_raw(self.statement).await?;
        Ok(())
    }
}

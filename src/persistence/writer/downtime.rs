//! The start of a run: extends the holds by the downtime, and records when the hub begins to take players.
//!
//! This work grows with the tables, so no timeout limits it: it is given up only if it keeps failing. Only the start of
//! its transaction has a limit, after which the connection is taken for frozen and replaced.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value,
};
use tokio::time::Instant;
use tracing::warn;

use super::commit::{Committer, flattened};
use super::progress::Progress;
use crate::clock::HubTime;
use crate::persistence::WriteError;
use crate::persistence::database::backoff::Backoff;
use crate::persistence::database::error::{Class, classify};
use crate::persistence::database::transaction;
use crate::persistence::statements::NODE;

/// The least that is left of a hold after a crash, unless the room's own hold is shorter: the coalesced write that
/// its holder was back may be lost. The SDKs wait no longer between two attempts.
const HOLD_MIN: Duration = Duration::from_secs(20);

/// How long a start may keep failing before it is given up: as long as an unreachable database is retried. The time
/// before the first failure does not count.
const FAILING_MAX: Duration = Duration::from_secs(30);

/// The result of starting a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Startup {
    /// True if the last run stopped as planned, so that memory streams continue.
    pub is_clean: bool,
    /// The downtime, which no hold and no seated session is charged for.
    pub down_for: Duration,
}

impl Committer {
    pub(crate) async fn begin_run(&mut self) -> Result<Startup, WriteError> {
        let (clock, kinds) = (self.shared.clock, Arc::clone(&self.shared.memory_kinds));
        let begun = self.keep_trying("the run could not begin", |connection, progress| {
            let kinds = Arc::clone(&kinds);
            async move { begin(&connection, &kinds, clock.now(), &progress).await }
        });
        let start = begun.await?;
        self.shared.written_out.lock().begin(start.is_clean);
        Ok(start)
    }

    pub(crate) async fn open_doors(&mut self) -> Result<(), WriteError> {
        let clock = self.shared.clock;
        self.keep_trying(
            "the run could not be marked as open",
            |connection, _| async move { open(&connection, clock.now()).await },
        )
        .await
    }

    /// Retries work, each time in a task that only a frozen connection cancels, until it succeeds or cannot succeed.
    async fn keep_trying<T, F>(
        &mut self,
        failure: &'static str,
        work: impl Fn(DatabaseConnection, Progress) -> F,
    ) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        let mut failing_since = None;
        let mut backoff = Backoff::new();
        loop {
            let progress = Progress::default();
            let work = work(self.writer.connection().clone(), progress.clone());
            let error = match flattened(self.writer.guarded_while(progress, work).await) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            warn!(%error, "{failure}");
            self.writer.look_after_connection(&error).await;
            let since = *failing_since.get_or_insert_with(Instant::now);
            if classify(&error) == Class::Permanent || since.elapsed() >= FAILING_MAX {
                return Err(WriteError::Lost);
            }
            backoff.wait().await;
        }
    }
}

/// Extends the holds by the downtime. Durable streams stay as they are, except those of kinds now configured without
/// one. A planned stop stays recorded until the hub takes players, so that a failed start costs nothing.
///
/// Idempotent: an extended hold counts from the heartbeat that the same commit writes.
async fn begin(
    writer: &DatabaseConnection,
    memory_kinds: &[String],
    now: HubTime,
    progress: &Progress,
) -> Result<Startup, DbErr> {
    let transaction = transaction::begin(writer).await?;
    lift_limit(&transaction).await?;
    progress.lift_limit();
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
    end_durability(&transaction, memory_kinds).await?;
    write_clock(&transaction, now, is_clean).await?;
    transaction.commit().await?;
    Ok(Startup {
        is_clean,
        down_for: now.since(last),
    })
}

/// Records that players come from here on, and memory streams move on. Any end of the run but a planned stop is a
/// crash now.
async fn open(writer: &DatabaseConnection, now: HubTime) -> Result<(), DbErr> {
    let transaction = transaction::begin(writer).await?;
    write_clock(&transaction, now, false).await?;
    transaction.commit().await
}

/// Lifts the statement timeout: a statement of the start may touch every seat.
async fn lift_limit(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let sql = "SET LOCAL statement_timeout = 0";
        transaction.execute_unprepared(sql).await?;
    }
    Ok(())
}

async fn shift(
    transaction: &DatabaseTransaction,
    last: HubTime,
    now: HubTime,
    least: Duration,
) -> Result<(), DbErr> {
    let delta = now.0.saturating_sub(last.0);
    // A seat that was held at the end of the last run gets a full hold. So does one whose hold ended while the hub
    // ran, because its holder may have been there. Any other hold keeps the time that it had left at the hub's last
    // heartbeat, or at its own beginning if that was later. It keeps at least enough for a holder whose return was
    // not stored to come back once more.
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

/// Ends the durable streams of kinds that are configured without a durable history. If such a kind got one again
/// later, the offsets in between would be missing unnoticed.
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

pub(crate) async fn write_clock(
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

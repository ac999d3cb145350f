//! What the first writer does alone: the begin of a run, and answers that wait for all that was written.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbErr};
use tokio::time::Instant;
use tracing::warn;

use super::WriteError;
use super::backoff::Backoff;
use super::commit::Interrupted;
use super::error::{Class, classify};
use super::queue::{Job, Settled};
use super::run::{self, RunStart};
use super::writer::Committer;

impl Committer {
    pub(super) async fn carry_out(&mut self, job: Job) {
        // Who asked may have stopped waiting: then nobody needs the answer.
        match job {
            #[cfg(feature = "faults")]
            Job::Panic => panic!("ordered"),
            Job::Barrier(reply) => {
                let _ = reply.send(());
            }
            Job::BeginRun(reply) => {
                let _ = reply.send(self.begin_run().await);
            }
            Job::CleanStop(stop, reply) => {
                self.clean_stop(stop, reply).await;
            }
            Job::Drain(reply) => {
                // More than one commit takes, as long as the database takes them.
                while self.shared.marks.are_waiting() && self.commit(Vec::new()).await {}
                self.checkpoint().await;
                let _ = reply.send(());
            }
        }
    }

    async fn begin_run(&mut self) -> Result<RunStart, WriteError> {
        let mut last = None;
        let give_up = Instant::now() + self.shared.settings.deadline;
        let mut backoff = Backoff::new();
        while last.is_none() || Instant::now() < give_up {
            let connection = self.writer.connection().clone();
            let now = self.shared.clock.now();
            let kinds = Arc::clone(&self.shared.memory_kinds);
            let begun = self
                .writer
                .guarded(async move { run::begin(&connection, &kinds, now).await })
                .await;
            match said(begun) {
                Ok((start, taken_over)) => {
                    *self.shared.taken_over.lock() = taken_over;
                    return Ok(start);
                }
                Err(error) => {
                    warn!(%error, "the run could not begin");
                    self.writer.look_after_connection(&error).await;
                    let is_final = classify(&error) == Class::Permanent;
                    last = Some(error);
                    if is_final {
                        break;
                    }
                    backoff.wait().await;
                }
            }
        }
        Err(WriteError::Lost)
    }

    /// Empties SQLite's log into its database, so that the file alone is whole.
    async fn checkpoint(&mut self) {
        let connection = self.writer.connection().clone();
        if connection.get_database_backend() == sea_orm::DbBackend::Postgres {
            return;
        }
        let result = self
            .writer
            .guarded(async move {
                connection
                    .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
                    .await
            })
            .await;
        if let Err(error) = said(result) {
            warn!(%error, "the log was not checkpointed; the next start does it");
        }
    }
}

/// Waits until the other writers have settled what was queued before a job. False if one of them cannot: the job is
/// given up then, and whoever ordered it is told by its reply, which is dropped.
pub(super) async fn may_begin(settled: Vec<Settled>) -> bool {
    for settled in settled {
        if settled.await.is_err() {
            return false;
        }
    }
    true
}

pub(super) fn said<T>(result: Result<Result<T, DbErr>, Interrupted>) -> Result<T, DbErr> {
    match result {
        Ok(result) => result,
        Err(Interrupted::Cut) => Err(DbErr::ConnectionAcquire(
            sea_orm::ConnAcquireErr::ConnectionClosed,
        )),
        Err(Interrupted::Panicked) => Err(DbErr::Custom("the transaction panicked".into())),
    }
}

//! Jobs that run exclusively on the first writer: startup, planned stop, barriers and the final checkpoint.

use sea_orm::ConnectionTrait;
use tracing::warn;

use super::commit::{Committer, flattened};
use super::queue::{Job, Settled};

impl Committer {
    pub(crate) async fn carry_out(&mut self, job: Job) {
        // The caller may have stopped waiting: then nobody needs the answer.
        match job {
            #[cfg(feature = "faults")]
            Job::Panic => panic!("ordered"),
            Job::Barrier(reply) => {
                let _ = reply.send(());
            }
            Job::BeginRun(reply) => {
                let _ = reply.send(self.begin_run().await);
            }
            Job::OpenDoors(reply) => {
                let _ = reply.send(self.open_doors().await);
            }
            Job::CleanStop(stop, reply) => {
                self.clean_stop(stop, reply).await;
            }
            Job::Drain(reply) => {
                // Repeats for more than one commit takes, while the database takes them.
                while self.shared.marks.are_waiting() && self.commit(Vec::new()).await {}
                self.checkpoint().await;
                let _ = reply.send(());
            }
        }
    }

    /// Moves SQLite's log into its database, so that the file alone is complete.
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
        if let Err(error) = flattened(result) {
            warn!(%error, "the log was not checkpointed; the next start does it");
        }
    }
}

/// Waits until the other writers have settled what was queued before a job. Returns false if one of them cannot: the
/// job is then given up, and its dropped reply ends the caller's wait.
pub(crate) async fn may_begin(settled: Vec<Settled>) -> bool {
    for settled in settled {
        if settled.await.is_err() {
            return false;
        }
    }
    true
}

//! One attempt to commit a group, and what is known of it afterwards.
//!
//! A COMMIT without an answer leaves the outcome unknown. It is then found out by the group's id, which is stored in
//! the same transaction.

use std::future::{Future, pending};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::ActorRef;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::message::PersistenceMessage;
use super::progress::Progress;
use crate::clock::HubTime;
use crate::persistence::database::address::Address;
use crate::persistence::database::error::{
    Class, classify, is_definite_at_commit, is_out_of_connections, is_sync_lost,
};
use crate::persistence::database::transaction::begin;
use crate::persistence::item::Item;
use crate::persistence::statements::Outcome;
use crate::persistence::store::Shared;
use crate::persistence::{SoftWrite, statements};

/// The time after which the connection of a group, or of a step of longer work, is cut from outside. The server is
/// frozen by then: no statement may take more than 5 s there, and commands wait 4 s at most.
const CUT_AFTER: Duration = Duration::from_secs(10);

/// The commands and coalesced writes of one transaction. Its id stays the same in all queries about its outcome.
pub(crate) struct Group {
    pub(crate) id: Uuid,
    pub(crate) items: Arc<Vec<Item>>,
    pub(crate) marks: Arc<[SoftWrite]>,
    pub(crate) now: HubTime,
    /// Seats that a user may hold; 0 for any number.
    pub(crate) seats_max: usize,
    /// Test hook: the wait before COMMIT.
    pub(crate) commit_delay: Duration,
}

/// The result of an attempt to commit a group.
pub(crate) enum Attempt {
    Committed {
        outcomes: Vec<Outcome>,
        /// Coalesced writes that are not finished, and go with another group as well.
        left: Vec<SoftWrite>,
    },
    /// Nothing is stored, and a retry would fail again.
    Permanent(DbErr),
    /// Nothing is stored, because the coalesced writes were refused.
    MarksRefused(DbErr),
    /// Nothing is stored, and a retry may succeed.
    Transient(String),
    /// COMMIT was sent, but not answered. If it is stored, these are the outcomes.
    Unknown(Vec<Outcome>),
}

/// Commits the groups of one lane.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    /// The lane it serves.
    pub(super) lane: usize,
    pub(crate) writer: OwnedMutexGuard<Writer>,
    pub(super) shell: ActorRef<PersistenceMessage>,
}

/// A writer's connection, which is replaced when it had to be cut.
pub(crate) struct Writer {
    address: Address,
    connection: DatabaseConnection,
    /// Cancelled when the database can no longer be trusted.
    broken: CancellationToken,
}

enum Phase {
    Work,
    CoalescedWrites,
    Commit,
}

struct Failure {
    phase: Phase,
    error: DbErr,
}

impl Failure {
    fn work(error: DbErr) -> Failure {
        Failure {
            phase: Phase::Work,
            error,
        }
    }
}

/// The reason why a task on the database gave no result.
pub(crate) enum Interrupted {
    /// It took too long, and its connection was cut.
    Cut,
    Panicked,
}

impl Writer {
    pub(crate) fn new(
        address: Address,
        connection: DatabaseConnection,
        broken: CancellationToken,
    ) -> Writer {
        Writer {
            address,
            connection,
            broken,
        }
    }

    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Tries once to commit the group.
    pub(crate) async fn attempt(&mut self, group: Group) -> Attempt {
        // Set when COMMIT is about to be sent, so that this is known even if the task is aborted.
        let at_commit: Arc<OnceLock<Vec<Outcome>>> = Arc::default();
        let connection = self.connection.clone();
        let told = at_commit.clone();
        let result = self
            .guarded(async move { transact(&connection, &group, &told).await })
            .await;
        let outcomes = Arc::unwrap_or_clone(at_commit).into_inner();
        match (result, outcomes) {
            (Ok(Ok(left)), Some(outcomes)) => Attempt::Committed { outcomes, left },
            (Ok(Err(failure)), outcomes) => {
                self.look_after_connection(&failure.error).await;
                judge(failure, outcomes)
            }
            (Err(Interrupted::Cut), None) => Attempt::Transient("the connection was cut".into()),
            (Err(Interrupted::Panicked), None) => {
                Attempt::Permanent(DbErr::Custom("the transaction panicked".into()))
            }
            (Err(_), Some(outcomes)) => Attempt::Unknown(outcomes),
            (Ok(Ok(_)), None) => Attempt::Permanent(DbErr::Custom("nothing was sent".into())),
        }
    }

    /// Returns whether a group whose COMMIT was not answered is stored. If it is not, it never will be: a row that
    /// marks it as void has its id.
    pub(crate) async fn is_stored(&mut self, id: Uuid, now: HubTime) -> Result<bool, String> {
        let connection = self.connection.clone();
        match self
            .guarded(async move { settle_id(&connection, id, now).await })
            .await
        {
            Ok(Ok(is_stored)) => Ok(is_stored),
            Ok(Err(error)) => {
                self.look_after_connection(&error).await;
                Err(error.to_string())
            }
            Err(Interrupted::Cut) => Err("the connection was cut".into()),
            Err(Interrupted::Panicked) => Err("the query for the outcome panicked".into()),
        }
    }

    /// Runs `work` in its own task, which nothing cancels in the middle of a statement except the cut of its
    /// connection. That connection is discarded, because sqlx may treat it as idle.
    pub(crate) async fn guarded<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Interrupted> {
        self.guarded_while(Progress::default(), work).await
    }

    /// Runs work of many statements like [`guarded`](Self::guarded), for as long as it makes progress.
    pub(crate) async fn guarded_while<T: Send + 'static>(
        &mut self,
        progress: Progress,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Interrupted> {
        let mut task = tokio::spawn(work);
        let result = if self.address.backend() == DbBackend::Postgres {
            match progress.watch(&mut task, CUT_AFTER).await {
                Some(result) => result,
                None => {
                    task.abort();
                    let result = task.await;
                    self.replace_connection().await;
                    result
                }
            }
        } else {
            // A disk cannot be cut off, so its answer is awaited.
            task.await
        };
        result.map_err(|error: JoinError| {
            if error.is_cancelled() {
                Interrupted::Cut
            } else {
                error!("a transaction panicked");
                Interrupted::Panicked
            }
        })
    }

    /// Replaces a PostgreSQL connection that the pool cannot hand out: it may be stuck on its way back to the pool. A
    /// connection inside a transaction is replaced by the pool itself.
    ///
    /// Never returns after a failed fsync of SQLite: what is stored can no longer be found out, so no command is
    /// answered any more, and the process ends.
    pub(crate) async fn look_after_connection(&mut self, error: &DbErr) {
        if is_sync_lost(error) {
            error!(%error, "an fsync of the database failed");
            self.broken.cancel();
            return pending().await;
        }
        if self.address.backend() == DbBackend::Postgres && is_out_of_connections(error) {
            self.tell_why(error.clone());
            self.replace_connection().await;
        }
    }

    /// Logs the server's own reason why there is no connection. The writer does not wait for it.
    fn tell_why(&self, error: DbErr) {
        let address = self.address.clone();
        tokio::spawn(async move {
            let error = address.explain(error).await;
            warn!(%error, "the writer has no connection to the database");
        });
    }

    async fn replace_connection(&mut self) {
        warn!("the database does not answer, the writer's connection is replaced");
        metrics::counter!("holdfast_connection_cuts_total").increment(1);
        match self.address.connect_writer_lazily().await {
            Ok(connection) => {
                Address::let_go(std::mem::replace(&mut self.connection, connection));
            }
            Err(error) => warn!(%error, "no new connection could be prepared for the writer"),
        }
    }
}

/// Runs a group from BEGIN to COMMIT, which is sent only if every statement succeeded. Nothing else commits a group.
/// Returns the coalesced writes that are not finished.
async fn transact(
    connection: &DatabaseConnection,
    group: &Group,
    at_commit: &OnceLock<Vec<Outcome>>,
) -> Result<Vec<SoftWrite>, Failure> {
    let transaction = begin(connection).await.map_err(Failure::work)?;
    if !group.items.is_empty() {
        let sql = "INSERT INTO commit_groups (id, is_void, created_at) VALUES ($1, false, $2)";
        let values = [group.id.into(), group.now.0.into()];
        let statement =
            Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        transaction
            .execute_raw(statement)
            .await
            .map_err(Failure::work)?;
    }
    let left = statements::apply_marks(&transaction, &group.marks)
        .await
        .map_err(|error| Failure {
            phase: Phase::CoalescedWrites,
            error,
        })?;
    let outcomes = statements::apply(&transaction, &group.items, group.now, group.seats_max)
        .await
        .map_err(Failure::work)?;
    if cfg!(feature = "faults") && !group.commit_delay.is_zero() {
        tokio::time::sleep(group.commit_delay).await;
    }
    // It is unset: each attempt has its own.
    let _ = at_commit.set(outcomes);
    transaction.commit().await.map_err(|error| Failure {
        phase: Phase::Commit,
        error,
    })?;
    Ok(left)
}

fn judge(failure: Failure, outcomes: Option<Vec<Outcome>>) -> Attempt {
    let Failure { phase, error } = failure;
    match (phase, classify(&error), outcomes) {
        (Phase::Commit, _, Some(outcomes)) if !is_definite_at_commit(&error) => {
            warn!(%error, "a COMMIT was not answered");
            Attempt::Unknown(outcomes)
        }
        (Phase::CoalescedWrites, Class::Permanent, _) => Attempt::MarksRefused(error),
        (Phase::Work | Phase::Commit, Class::Permanent, _) => Attempt::Permanent(error),
        (_, Class::Transient, _) => Attempt::Transient(error.to_string()),
    }
}

async fn settle_id(connection: &DatabaseConnection, id: Uuid, now: HubTime) -> Result<bool, DbErr> {
    let backend = connection.get_database_backend();
    // While the old transaction is still open on the server, this waits for it, or fails and is retried. If the
    // answer to this statement is lost, its own row marks the group as void.
    let sql = "INSERT INTO commit_groups (id, is_void, created_at) VALUES ($1, true, $2) \
               ON CONFLICT DO NOTHING";
    let values = [id.into(), now.0.into()];
    connection
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    let sql = "SELECT is_void FROM commit_groups WHERE id = $1";
    let row = connection
        .query_one_raw(Statement::from_sql_and_values(backend, sql, [id.into()]))
        .await?;
    match row {
        Some(row) => Ok(!row.try_get_by_index::<bool>(0)?),
        None => Err(DbErr::RecordNotFound("the group's id".into())),
    }
}

/// Returns the result of guarded work; work that was interrupted has failed as the connection did.
pub(crate) fn flattened<T>(result: Result<Result<T, DbErr>, Interrupted>) -> Result<T, DbErr> {
    match result {
        Ok(result) => result,
        Err(Interrupted::Cut) => Err(DbErr::ConnectionAcquire(
            sea_orm::ConnAcquireErr::ConnectionClosed,
        )),
        Err(Interrupted::Panicked) => Err(DbErr::Custom("the transaction panicked".into())),
    }
}

//! One transaction with the database, and what is known of it afterwards.

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

/// A group, or a step of a longer piece of work, that takes so long talks to a frozen server: no statement may take
/// more than 5 s there, and commands wait 4 s at most. The connection is cut from outside.
const CUT_AFTER: Duration = Duration::from_secs(10);

/// The commands and marks of one transaction. It keeps its id through everything that is asked about it.
pub(crate) struct Group {
    pub(crate) id: Uuid,
    pub(crate) items: Arc<Vec<Item>>,
    pub(crate) marks: Arc<[SoftWrite]>,
    pub(crate) now: HubTime,
    /// Seats that a user may hold; 0 for any number.
    pub(crate) seats_max: usize,
    /// Test hook: waited before COMMIT.
    pub(crate) commit_delay: Duration,
}

/// How an attempt to commit a group ended.
pub(crate) enum Attempt {
    Committed {
        outcomes: Vec<Outcome>,
        /// Marks that go with another group as well.
        left: Vec<SoftWrite>,
    },
    /// Nothing is stored, and it will fail again.
    Permanent(DbErr),
    /// Nothing is stored because of the marks.
    MarksRefused(DbErr),
    /// Nothing is stored, and it may pass.
    Transient(String),
    /// COMMIT was sent and its answer did not come. If it is stored, these are the outcomes.
    Unknown(Vec<Outcome>),
}

/// What commits the groups of one lane.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    /// Which lane it serves.
    pub(super) lane: usize,
    pub(crate) writer: OwnedMutexGuard<Writer>,
    pub(super) shell: ActorRef<PersistenceMessage>,
}

/// The connection that writes. It is replaced when it had to be cut.
pub(crate) struct Writer {
    address: Address,
    connection: DatabaseConnection,
    /// Cancelled when nothing that the database says can be trusted any more.
    broken: CancellationToken,
}

enum Phase {
    Work,
    Marks,
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

/// Why a task that talks to the database gave no result.
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
        // Set when COMMIT is about to be sent, so that it is known even if the task is cut.
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

    /// Whether a group whose COMMIT was not answered is stored. If it is not, it never will be: its id is
    /// taken by a row that says so.
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
            Err(Interrupted::Panicked) => Err("the question panicked".into()),
        }
    }

    /// Runs `work` in a task of its own, which nothing cancels in the middle of a statement but the cut of
    /// its connection. That connection is thrown away, because sqlx may take it for idle.
    pub(crate) async fn guarded<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Interrupted> {
        self.guarded_while(Progress::default(), work).await
    }

    /// As [`guarded`](Self::guarded), for work of many statements: it may take as long as it makes progress.
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
            // A disk cannot be cut off: its answer is waited for.
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

    /// Replaces a connection to PostgreSQL that cannot be had: on its way back to the pool it may have been stuck.
    /// One that is inside a transaction its pool replaces by itself.
    ///
    /// After a failed fsync of SQLite it never returns: what is stored can no longer be found out, so nobody is told
    /// anything any more, and the process ends.
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

    /// Logs the server's own reason for which there is no connection. Nobody waits for it.
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
            Err(error) => warn!(%error, "no connection could be prepared in its place"),
        }
    }
}

/// The one place where BEGIN and COMMIT meet: COMMIT is sent only if every statement succeeded. Gives the marks of
/// which something is left to do.
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
            phase: Phase::Marks,
            error,
        })?;
    let outcomes = statements::apply(&transaction, &group.items, group.now, group.seats_max)
        .await
        .map_err(Failure::work)?;
    if cfg!(feature = "faults") && !group.commit_delay.is_zero() {
        tokio::time::sleep(group.commit_delay).await;
    }
    // It is empty: each attempt has its own.
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
        (Phase::Marks, Class::Permanent, _) => Attempt::MarksRefused(error),
        (Phase::Work | Phase::Commit, Class::Permanent, _) => Attempt::Permanent(error),
        (_, Class::Transient, _) => Attempt::Transient(error.to_string()),
    }
}

async fn settle_id(connection: &DatabaseConnection, id: Uuid, now: HubTime) -> Result<bool, DbErr> {
    let backend = connection.get_database_backend();
    // While the old transaction is still open on the server, this waits for it, or fails and is asked
    // again. Should this very statement's answer be lost, its own row says that the group is void.
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

//! The open database: its lock, its connections, and the state that outlives a restart of the writers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ractor::ActorRef;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::database::address::Address;
use super::database::backoff::Backoff;
use super::database::error::Cause;
use super::database::lock::{DaemonLock, Unlocked};
use super::database::readers::Readers;
use super::database::schema;
use super::metric::PersistenceMetrics;
use super::queries::active_users::ActiveUsers;
use super::queries::gather::Gather;
use super::queries::session_by_token::UnknownTokens;
use super::queries::written_out::WrittenOut;
use super::writer::coalesced_writes::CoalescedWrites;
use super::writer::lane::{self, Lane};
use super::writer::message::PersistenceMessage;
use super::writer::queue::Work;
use super::writer::write_health::WriteCondition;
use super::{OpenError, Persistence, StoredRoom, StoredSession};
use crate::clock::HubClock;
use crate::config::{Config, DatabaseConfig, PersistenceConfig};
use crate::id::{RoomCode, SessionId};

/// How long a start retries an unreachable database, which may boot together with this machine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a start waits for the lock of a killed daemon. PostgreSQL releases it once it notices the lost
/// connection: at once as a rule, but on a busy machine later than a new daemon starts.
const LOCK_LEFT_OVER: Duration = Duration::from_secs(3);

/// The interval at which the lock's connection is checked.
const LOCK_RENEWAL: Duration = Duration::from_secs(5);

/// Reads in flight at one time: several per connection of the pool, so that none is idle while callers wait.
const READS_CONCURRENCY_MAX: usize = 256;

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

/// The state shared by handles, actor and writers, which survives their restarts.
pub(super) struct Shared {
    pub(super) clock: HubClock,
    pub(super) settings: PersistenceConfig,
    /// Seats that a user may hold; 0 for any number.
    pub(super) seats_max: usize,
    /// Test hook: the wait before each COMMIT in builds with `faults`.
    pub(super) commit_delay: Duration,
    pub(super) readers: Readers,
    /// A permit for each read in flight, abandoned ones included.
    pub(super) reads: Arc<Semaphore>,
    /// At least one.
    pub(super) lanes: Vec<Lane>,
    /// Cancelled when the database can no longer be trusted.
    pub(super) broken: CancellationToken,
    pub(super) marks: CoalescedWrites,
    pub(super) active_users: ActiveUsers,
    pub(super) writes: WriteCondition,
    pub(super) written_out: Mutex<WrittenOut>,
    pub(super) rooms: Arc<Gather<RoomCode, StoredRoom>>,
    pub(super) sessions: Arc<Gather<SessionId, StoredSession>>,
    pub(super) shell: RwLock<Option<ActorRef<PersistenceMessage>>>,
    pub(super) lock: DaemonLock,
    pub(super) metrics: PersistenceMetrics,
    pub(super) unknown_tokens: UnknownTokens,
    /// The kinds configured without a durable history.
    pub(super) memory_kinds: Arc<[String]>,
    /// The lanes' queues, for measurement only. They are gone while no actor runs.
    pub(super) queues: RwLock<Vec<mpsc::WeakSender<Work>>>,
}

impl Store {
    /// Locks, opens, checks and migrates the database. Retries for 30 seconds if it cannot be reached.
    pub async fn open(config: &Config, clock: HubClock) -> Result<Store, OpenError> {
        Store::open_within(config, clock, OPEN_TIMEOUT).await
    }

    /// Opens the database like [`Store::open`], but retries for `within`.
    pub async fn open_within(
        config: &Config,
        clock: HubClock,
        within: Duration,
    ) -> Result<Store, OpenError> {
        let address = Address::parse(&config.database)?;
        let give_up = Instant::now() + within;
        let is_in_use = Instant::now() + within.min(LOCK_LEFT_OVER);
        let mut backoff = Backoff::new();
        let (lock, writers, readers) = loop {
            match connect(&address, config).await {
                Ok(parts) => break parts,
                Err(Unlocked::Refused(OpenError::DatabaseInUse)) if Instant::now() < is_in_use => {
                    info!("another daemon, running or killed, holds the database's lock; waiting");
                    backoff.wait().await;
                }
                Err(Unlocked::Refused(error)) => return Err(error),
                Err(Unlocked::Away(error)) if Instant::now() >= give_up => {
                    let cause = Cause::from(error);
                    return Err(OpenError::Unreachable { within, cause });
                }
                Err(Unlocked::Away(error)) => {
                    warn!(%error, "the database cannot be reached, trying again");
                    backoff.wait().await;
                }
            }
        };
        schema::prepare(&writers[0], config.database.migrate).await?;
        let lanes = writers.into_iter();
        let broken = CancellationToken::new();
        let lanes = lanes.map(|writer| Lane::new(address.clone(), writer, broken.clone()));
        let commit_delay = if config.dev {
            config.faults.commit_delay
        } else {
            Duration::ZERO
        };
        let shared = Arc::new(Shared {
            clock,
            settings: config.persistence.clone(),
            seats_max: config.session.seats_max,
            commit_delay,
            readers,
            reads: Arc::new(Semaphore::new(READS_CONCURRENCY_MAX)),
            lanes: lanes.collect(),
            broken,
            marks: CoalescedWrites::default(),
            active_users: ActiveUsers::default(),
            writes: WriteCondition::default(),
            written_out: Mutex::default(),
            rooms: Arc::default(),
            sessions: Arc::default(),
            shell: RwLock::new(None),
            lock,
            metrics: PersistenceMetrics::new(),
            unknown_tokens: UnknownTokens::default(),
            memory_kinds: memory_kinds(config),
            queues: RwLock::default(),
        });
        keep_lock(&shared);
        keep_awake(&shared, config.database.keepalive);
        info!("the database is open");
        Ok(Store { shared })
    }

    /// Returns a handle for reads and writes. It stays valid when the writers are restarted.
    pub fn persistence(&self) -> Persistence {
        Persistence::new(self.shared.clone())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Shared {
    /// Returns the length and the capacity of each writer's queue. Empty while no actor runs.
    pub(super) fn queue_depths(&self) -> Vec<(usize, usize)> {
        let queues = self.queues.read();
        let queues = queues.iter().filter_map(mpsc::WeakSender::upgrade);
        let depth = |queue: mpsc::Sender<Work>| {
            let max = queue.max_capacity();
            (max - queue.capacity(), max)
        };
        queues.map(depth).collect()
    }
}

fn memory_kinds(config: &Config) -> Arc<[String]> {
    let kinds = config.kind.iter();
    let kinds = kinds.filter(|(_, kind)| !kind.history_durable);
    kinds.map(|(name, _)| name.clone()).collect()
}

async fn connect(
    address: &Address,
    config: &Config,
) -> Result<(DaemonLock, Vec<DatabaseConnection>, Readers), Unlocked> {
    let pools = address.pools(&config.database).await?;
    let lock = DaemonLock::take(address).await?;
    let mut writers = Vec::new();
    match connect_all(address, &pools, &mut writers).await {
        Ok(readers) => Ok((lock, writers, readers)),
        // Open connections stay open until the cause is known: the server may admit no more than these.
        Err(error) => Err(address.away(address.explain(error).await)),
    }
}

async fn connect_all(
    address: &Address,
    pools: &DatabaseConfig,
    writers: &mut Vec<DatabaseConnection>,
) -> Result<Readers, DbErr> {
    let first = address.connect_writer().await?;
    writers.push(without_statistics(address, first).await?);
    while writers.len() < lane::count(address.backend()) {
        writers.push(address.connect_writer().await?);
    }
    Readers::connect(address.clone(), pools).await
}

/// Removes the statistics that an earlier version left in SQLite, before other connections open. Statistics of once
/// small tables make SQLite scan them when they are large. Without any it uses the indexes, which every query here
/// has.
async fn without_statistics(
    address: &Address,
    writer: DatabaseConnection,
) -> Result<DatabaseConnection, DbErr> {
    if writer.get_database_backend() != DbBackend::Sqlite {
        return Ok(writer);
    }
    let sql = "SELECT name FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'";
    let tables = writer
        .query_all_raw(Statement::from_string(DbBackend::Sqlite, sql))
        .await?;
    if tables.is_empty() {
        return Ok(writer);
    }
    for table in tables {
        let table: String = table.try_get_by_index(0)?;
        let drop = format!("DROP TABLE IF EXISTS {table}");
        writer.execute_unprepared(&drop).await?;
    }
    // A connection keeps the statistics that it has read.
    writer.close().await?;
    address.connect_writer().await
}

/// Checks the lock regularly until the store is dropped.
fn keep_lock(shared: &Arc<Shared>) {
    if matches!(shared.lock, DaemonLock::File(_)) {
        return;
    }
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOCK_RENEWAL).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.lock.renew().await;
        }
    });
}

/// Queries the database now and then, so that a hosted one does not fall asleep.
fn keep_awake(shared: &Arc<Shared>, every: Duration) {
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if let Err(error) = shared.readers.pool().execute_unprepared("SELECT 1").await {
                warn!(%error, "the database did not answer the keepalive");
            }
        }
    });
}

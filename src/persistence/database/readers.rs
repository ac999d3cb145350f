//! The read pool, and its replacement when its connections are dead.

use std::time::Duration;

use parking_lot::RwLock;
use sea_orm::{ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::address::{Address, WRITER_ACQUIRE};
use crate::config::DatabaseConfig;

/// The least time between two replacements of the pool: a server that is only slow must not be flooded with connects.
const REPLACE_RETRY_DELAY: Duration = Duration::from_secs(10);

/// The current read pool.
pub(crate) struct Readers {
    address: Address,
    config: DatabaseConfig,
    current: RwLock<Pool>,
}

struct Pool {
    connections: DatabaseConnection,
    replaced: Option<Instant>,
}

impl Readers {
    pub(crate) async fn connect(
        address: Address,
        config: &DatabaseConfig,
    ) -> Result<Readers, DbErr> {
        // On PostgreSQL one connection is enough to begin with: the others follow as the server admits them.
        let is_lazy = address.backend() == DbBackend::Postgres;
        let connections = address.connect_readers(config, is_lazy).await?;
        if is_lazy {
            let first = connections.execute_unprepared("SELECT 1");
            let late = |_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
            timeout(WRITER_ACQUIRE, first).await.map_err(late)??;
        }
        Ok(Readers {
            address,
            config: config.clone(),
            current: RwLock::new(Pool {
                connections,
                replaced: None,
            }),
        })
    }

    pub(crate) fn pool(&self) -> DatabaseConnection {
        self.current.read().connections.clone()
    }

    /// Returns the connections in use and those that are idle.
    pub(crate) fn connections(&self) -> (u32, u32) {
        let pool = self.pool();
        let (size, idle) = match self.address.backend() {
            DbBackend::Sqlite => {
                let pool = pool.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            }
            DbBackend::Postgres | DbBackend::MySql => {
                let pool = pool.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            }
            _ => return (0, 0),
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
        (size - idle, idle)
    }

    /// Replaces the pool after a read that was not answered in time. Connections over a dead link would keep their
    /// places in the pool until the system gives them up, many minutes later.
    pub(crate) async fn replace_dead(&self) {
        if self.address.backend() == DbBackend::Sqlite {
            return;
        }
        {
            let mut pool = self.current.write();
            let is_fresh = |replaced: Instant| replaced.elapsed() < REPLACE_RETRY_DELAY;
            if pool.replaced.is_some_and(is_fresh) {
                return;
            }
            pool.replaced = Some(Instant::now());
        }
        match self.address.connect_readers(&self.config, true).await {
            Ok(connections) => {
                let mut pool = self.current.write();
                let old = std::mem::replace(&mut pool.connections, connections);
                drop(pool);
                warn!("reads are not answered; replacing their connections");
                Address::let_go(old);
            }
            Err(error) => warn!(%error, "no new read connections could be prepared"),
        }
    }
}

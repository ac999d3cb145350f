//! A database of a test's own, and a hub's persistence on it.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast::clock::HubClock;
use holdfast::config::{
    AdminConfig, AuthConfig, Config, DatabaseConfig, FaultsConfig, LogConfig, LogFormat,
    PersistenceConfig, ServerConfig, SessionConfig, ShutdownConfig,
};
use holdfast::id::random_bytes;
use holdfast::persistence::{Persistence, PersistenceActor, Store};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TransactionTrait};
use tempfile::TempDir;

/// The longest that anything in these tests may take: slow machines, not slow code.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Database {
    pub(super) url: String,
    pub(super) config: Config,
    server: Option<Server>,
    _folder: TempDir,
}

struct Server {
    admin: String,
    name: String,
}

impl Database {
    pub(super) fn sqlite() -> Database {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/holdfast.db", folder.path().display());
        Database {
            config: config(&url, &folder),
            url,
            server: None,
            _folder: folder,
        }
    }

    /// None where there is no server to test on.
    pub(super) async fn postgres() -> Option<Database> {
        Database::postgres_with("").await
    }

    /// The same, made with further words to `CREATE DATABASE`.
    pub(super) async fn postgres_with(words: &str) -> Option<Database> {
        let admin = std::env::var("HOLDFAST_TEST_DATABASE_URL").ok()?;
        let name = format!("holdfast_{:032x}", u128::from_be_bytes(random_bytes()));
        let connection = sea_orm::Database::connect(&admin).await.unwrap();
        let sql = format!("CREATE DATABASE {name} {words}");
        connection.execute_unprepared(&sql).await.unwrap();
        let (server, _) = admin.rsplit_once('/').unwrap();
        let url = format!("{server}/{name}");
        let folder = tempfile::tempdir().unwrap();
        Some(Database {
            config: config(&url, &folder),
            url,
            server: Some(Server { admin, name }),
            _folder: folder,
        })
    }

    /// Starts a hub's persistence on the database.
    pub(super) async fn start(&self) -> Hub {
        Hub::start(&self.config).await
    }

    /// A look past the daemon.
    pub(super) async fn look(&self) -> DatabaseConnection {
        let url = match self.server {
            Some(_) => self.url.clone(),
            None => format!("{}?mode=rw", self.url),
        };
        sea_orm::Database::connect(&url).await.unwrap()
    }

    pub(super) async fn sql(&self, sql: &str) {
        let connection = self.look().await;
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        let connection = self.look().await;
        let backend = connection.get_database_backend();
        let row = connection
            .query_one_raw(Statement::from_string(backend, sql))
            .await
            .unwrap()
            .unwrap();
        connection.close().await.unwrap();
        row.try_get_by_index(0).unwrap()
    }

    pub(super) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {table}")).await
    }

    /// Has the database refuse publications with this data.
    pub(super) async fn refuse_publication(&self, data: &str) {
        if self.server.is_some() {
            let sql = format!(
                "ALTER TABLE room_publications ADD CONSTRAINT none_is_bad \
                 CHECK (data <> '{data}'::bytea)"
            );
            return self.sql(&sql).await;
        }
        let sql = format!(
            "CREATE TRIGGER none_is_bad BEFORE INSERT ON room_publications \
             WHEN NEW.data = CAST('{data}' AS BLOB) \
             BEGIN SELECT RAISE(ABORT, 'bad'); END"
        );
        self.sql(&sql).await;
    }

    /// Holds up every commit until the transaction is dropped or ended.
    pub(super) async fn stall(&self) -> sea_orm::DatabaseTransaction {
        let connection = self.look().await;
        let transaction = connection.begin().await.unwrap();
        let sql = if self.server.is_some() {
            "LOCK TABLE commit_groups"
        } else {
            "DELETE FROM commit_groups WHERE created_at < 0"
        };
        transaction.execute_unprepared(sql).await.unwrap();
        transaction
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(Server { admin, name }) = self.server.take() else {
            return;
        };
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let connection = sea_orm::Database::connect(&admin).await.unwrap();
                let sql = format!("DROP DATABASE {name} WITH (FORCE)");
                connection.execute_unprepared(&sql).await.unwrap();
            });
        });
        dropping.join().unwrap();
    }
}

/// A hub's persistence, under a supervisor that lets its children die.
pub(super) struct Hub {
    pub(super) store: Store,
    pub(super) persistence: Persistence,
    pub(super) clock: HubClock,
    pub(super) writer: ActorCell,
    pub(super) supervisor: ActorCell,
}

impl Hub {
    pub(super) async fn start(config: &Config) -> Hub {
        let clock = HubClock::start();
        let store = Store::open(config, clock).await.unwrap();
        let (supervisor, _) = Actor::spawn(None, Supervisor, ()).await.unwrap();
        let supervisor = supervisor.get_cell();
        let writer = PersistenceActor::start(&store, supervisor.clone())
            .await
            .unwrap();
        Hub {
            persistence: store.persistence(),
            store,
            clock,
            writer,
            supervisor,
        }
    }

    /// Ends as a planned stop without its marks would: everything is let go of.
    pub(super) async fn stop(self) {
        self.persistence.drain().await;
        self.supervisor.stop(None);
    }
}

struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn config(url: &str, folder: &TempDir) -> Config {
    let second = Duration::from_secs(1);
    Config {
        dev: true,
        data_dir: folder.path().to_owned(),
        server: ServerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 1000,
            connections_per_address_max: 0,
            connects_per_second: 0,
        },
        admin: AdminConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            token: None,
        },
        database: DatabaseConfig {
            url: url.to_owned().into(),
            connections_max: 8,
            connections_min: 1,
            acquire_timeout: 2 * second,
            lifetime: 3600 * second,
            keepalive: 300 * second,
            migrate: true,
        },
        persistence: PersistenceConfig {
            batch_max: 512,
            queue_max: 8192,
            deadline: PATIENCE,
        },
        seat_token: Config::default().seat_token,
        session: SessionConfig {
            ttl: 3600 * second,
            seats_max: 0,
            changes_per_second: 0,
        },
        auth: AuthConfig {
            guests: true,
            api_keys: Vec::new(),
            hmac_secret: None,
            hmac_secret_previous: None,
            public_keys: Vec::new(),
            jwks_url: None,
            audience: None,
            issuer: None,
            create_users: true,
            personal_channel: false,
            newcomers_per_minute: 0,
            require_exp: true,
        },
        client: Config::default().client,
        admission: Config::default().admission,
        history: Config::default().history,
        shutdown: ShutdownConfig {
            timeout: 30 * second,
            clients_per_second: 1000,
        },
        log: LogConfig {
            level: "info".into(),
            format: LogFormat::Auto,
        },
        kind: BTreeMap::new(),
        faults: FaultsConfig::default(),
    }
}

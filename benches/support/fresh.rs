//! A new database for one measurement.

use holdfast::config::Config;
use holdfast::id::RoomId;
use holdfast::persistence::migrate_up;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};
use tempfile::TempDir;

/// A place to create databases in.
pub(crate) enum Server {
    Sqlite,
    /// The URL of a user who may create databases.
    Postgres(String),
}

/// A database without tables.
pub(crate) struct NewSessionDraft {
    url: String,
    /// The server and the name to drop, on PostgreSQL.
    dropped_by: Option<(String, String)>,
    _folder: TempDir,
}

impl Server {
    /// Returns the name of the database system, and the version that it reports.
    pub(crate) async fn version(&self) -> String {
        let (url, sql, name) = match self {
            Server::Sqlite => ("sqlite::memory:", "SELECT sqlite_version()", "sqlite"),
            Server::Postgres(url) => (
                url.as_str(),
                "SELECT current_setting('server_version')",
                "postgresql",
            ),
        };
        let connection = connect(url).await;
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await;
        let row = row.expect("it answers").expect("one row");
        let version: String = row.try_get_by_index(0).expect("one text");
        format!("{name} {version}")
    }
}

impl NewSessionDraft {
    pub(crate) async fn make(server: &Server) -> NewSessionDraft {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (url, dropped_by) = match server {
            Server::Sqlite => {
                let path = folder.path().join("holdfast.db");
                (format!("sqlite://{}", path.display()), None)
            }
            Server::Postgres(url) => {
                let name = format!("bench_{}", RoomId::new().0.simple());
                let admin = connect(url).await;
                let create = format!("CREATE DATABASE {name}");
                admin.execute_unprepared(&create).await.expect("it may");
                let (server, _) = url.rsplit_once('/').expect("a URL names a database");
                (format!("{server}/{name}"), Some((url.clone(), name)))
            }
        };
        NewSessionDraft {
            url,
            dropped_by,
            _folder: folder,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Creates the tables. The daemon's own store does that by itself.
    pub(crate) async fn migrate(&self) {
        let mut config = Config::default();
        config.database.url = self.url.clone().into();
        migrate_up(&config).await.expect("an empty database");
    }

    pub(crate) async fn rooms(&self) -> u64 {
        let connection = connect(&self.url).await;
        let sql = "SELECT count(*) FROM rooms";
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await;
        let row = row.expect("it answers").expect("one row");
        let count: i64 = row.try_get_by_index(0).expect("one number");
        connection.close().await.expect("nobody else uses it");
        u64::try_from(count).expect("a count")
    }

    pub(crate) async fn remove(self) {
        if let Some((server, name)) = self.dropped_by {
            let admin = connect(&server).await;
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            admin.execute_unprepared(&drop).await.expect("it is ours");
        }
    }
}

async fn connect(url: &str) -> DatabaseConnection {
    Database::connect(url).await.expect("the database is there")
}

//! Transactions of the writers, and why none begins inside another one.
//!
//! A transaction may end without sqlx: SQLite rolls it back by itself when the disk is full, and the ROLLBACK that
//! follows fails. sqlx then counts the transaction as open, and turns the next BEGIN into a SAVEPOINT whose RELEASE
//! succeeds and stores nothing. A pool made with [`never_nested`] does not hand out such a connection: it opens a new
//! one.

use sea_orm::{
    ConnectOptions, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sqlx::Connection;

/// Makes the pool hand out only connections without an open transaction, whatever failed before.
pub(crate) fn never_nested(options: &mut ConnectOptions) {
    options
        .map_sqlx_sqlite_before_acquire(|connection, _| {
            let is_at_rest = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_at_rest) })
        })
        .map_sqlx_postgres_before_acquire(|connection, _| {
            let is_at_rest = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_at_rest) })
        });
}

/// Begins a transaction that writes. On SQLite it does not begin as a reader: the upgrade would fail at once if
/// another connection had written.
pub(crate) async fn begin(writer: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    writer.begin_with_options(options).await
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, Database, Statement};
    use std::time::Duration;

    use super::*;

    /// Were the file opened again, the attempt would wait for the same lock twice.
    #[tokio::test]
    async fn a_transaction_that_waited_in_vain_for_a_lock_leaves_its_connection_open() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("locked.db");
        let connect = async || {
            let url = format!("sqlite://{}?mode=rwc", file.display());
            let mut options = ConnectOptions::new(url);
            options
                .max_connections(1)
                .map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::from_millis(10)));
            never_nested(&mut options);
            Database::connect(options).await.unwrap()
        };
        let (writer, other) = (connect().await, connect().await);
        // A temporary table is there for one connection only.
        let mark = "CREATE TEMPORARY TABLE mark (id INTEGER)";
        writer.execute_unprepared(mark).await.unwrap();
        let lock = begin(&other).await.unwrap();

        for _ in 0..3 {
            begin(&writer).await.unwrap_err();
        }

        lock.rollback().await.unwrap();
        let next = begin(&writer).await.unwrap();
        let is_same = next.execute_unprepared("INSERT INTO mark VALUES (1)").await;
        assert!(is_same.is_ok(), "{is_same:?}");
    }

    #[tokio::test]
    async fn a_transaction_that_the_database_ended_alone_does_not_swallow_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("small.db");
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
        options
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5));
        never_nested(&mut options);
        let writer = Database::connect(options).await.unwrap();
        let table = "CREATE TABLE rows (id INTEGER)";
        writer.execute_unprepared(table).await.unwrap();

        let failed = begin(&writer).await.unwrap();
        // As a full disk does, without sqlx noticing.
        failed.execute_unprepared("ROLLBACK").await.unwrap();
        drop(failed);
        let next = begin(&writer).await.unwrap();
        let insert = "INSERT INTO rows VALUES (1)";
        next.execute_unprepared(insert).await.unwrap();
        next.commit().await.unwrap();
        drop(writer);

        let other = Database::connect(format!("sqlite://{}", file.display())).await;
        let count = Statement::from_string(sea_orm::DbBackend::Sqlite, "SELECT COUNT(*) FROM rows");
        let row = other.unwrap().query_one_raw(count).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1);
    }
}

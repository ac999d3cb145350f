//! The seat-token signing key that the hub generated, where the database stores it.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

use super::database::address::WRITER_ACQUIRE;
use super::database::error::Cause;
use super::{OpenError, Store};

impl Store {
    /// Returns the hub's own key for seat tokens, and stores `fresh` if there is none. None: the database does not
    /// store it, because it is itself a file of this machine.
    ///
    /// PostgreSQL stores it, so that tokens outlive the machine that signed them.
    pub async fn seat_token_key(&self, fresh: &str) -> Result<Option<String>, OpenError> {
        let writer = self.shared.lanes[0].writer.lock().await;
        let connection = writer.connection();
        if connection.get_database_backend() != DbBackend::Postgres {
            return Ok(None);
        }
        match keep(connection, fresh, self.shared.clock.now().0).await {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(OpenError::Unreachable {
                within: WRITER_ACQUIRE,
                cause: Cause::from(error),
            }),
        }
    }
}

/// Stores the first key offered, and returns it to all later callers.
async fn keep(connection: &DatabaseConnection, fresh: &str, now: i64) -> Result<String, DbErr> {
    let sql = "INSERT INTO seat_token_keys (id, pem, created_at) VALUES (1, $1, $2) \
               ON CONFLICT DO NOTHING";
    let values = [fresh.into(), now.into()];
    let insert = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    connection.execute_raw(insert).await?;
    let select = "SELECT pem FROM seat_token_keys WHERE id = 1";
    let row = connection
        .query_one_raw(Statement::from_string(DbBackend::Postgres, select))
        .await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the seat-token key".into()))?;
    row.try_get_by_index(0)
}

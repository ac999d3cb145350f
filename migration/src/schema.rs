//! One schema text for both databases: only two type names and a storage option differ.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Keeps a part of each page free on PostgreSQL, for tables marked `{roomy}`. The start of a run changes every seat and
/// its session, and a changed row that fits into its page needs no new index entries. At 45 % each row has room for one
/// more like it; starting with 100,000 seats takes a quarter of the time.
const ROOMY: &str = "WITH (fillfactor = 45)";

/// Runs the statements in order, with `{uuid}`, `{bytes}` and `{roomy}` replaced for the database.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let (uuid, bytes, roomy) = if manager.get_database_backend() == DbBackend::Postgres {
        ("uuid", "bytea", ROOMY)
    } else {
        ("blob", "blob", "")
    };
    let connection = manager.get_connection();
    for statement in statements {
        let statement = statement
            .replace("{uuid}", uuid)
            .replace("{bytes}", bytes)
            .replace("{roomy}", roomy);
        connection.execute_unprepared(&statement).await?;
    }
    Ok(())
}

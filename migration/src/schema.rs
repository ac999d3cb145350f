//! One schema text for both databases: only the names of two types differ.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Runs the statements one after the other, with `{uuid}` and `{bytes}` as the database calls them.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let (uuid, bytes) = if manager.get_database_backend() == DbBackend::Postgres {
        ("uuid", "bytea")
    } else {
        ("blob", "blob")
    };
    let connection = manager.get_connection();
    for statement in statements {
        let statement = statement.replace("{uuid}", uuid).replace("{bytes}", bytes);
        connection.execute_unprepared(&statement).await?;
    }
    Ok(())
}

//! The last moment at which a hub was alive, in its own time.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["CREATE TABLE hub_clock (
    node text NOT NULL PRIMARY KEY,
    last_heartbeat_at bigint NOT NULL,
    clean_stop boolean NOT NULL
)"];

const DOWN: &[&str] = &["DROP TABLE hub_clock"];

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schema::run(manager, DOWN).await
    }

    // SQLite would otherwise run without a transaction.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

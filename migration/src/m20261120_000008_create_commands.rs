//! Idempotency keys of clients, and their stored responses.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE commands (
    scope text NOT NULL,
    key text NOT NULL,
    content_hash {bytes} NOT NULL,
    answer text NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (scope, key)
)",
    "CREATE INDEX commands_created_at ON commands (created_at)",
];

const DOWN: &[&str] = &["DROP TABLE commands"];

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

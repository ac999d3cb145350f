//! Session tokens, as hashes only.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE session_tokens (
    hash {bytes} NOT NULL PRIMARY KEY,
    session_id {uuid} NOT NULL
        REFERENCES app_sessions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_at bigint NOT NULL
)",
    "CREATE INDEX session_tokens_session_id ON session_tokens (session_id)",
];

const DOWN: &[&str] = &["DROP TABLE session_tokens"];

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

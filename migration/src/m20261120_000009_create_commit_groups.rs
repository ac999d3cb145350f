//! Committed transactions, by which the outcome of an unanswered COMMIT is found out.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE commit_groups (
    id {uuid} NOT NULL PRIMARY KEY,
    is_void boolean NOT NULL,
    created_at bigint NOT NULL
)",
    "CREATE INDEX commit_groups_created_at ON commit_groups (created_at)",
];

const DOWN: &[&str] = &["DROP TABLE commit_groups"];

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

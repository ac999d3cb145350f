//! Marks rooms with a durable stream, whose epoch and top are valid after a crash too.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["ALTER TABLE rooms ADD COLUMN stream_durable boolean NOT NULL DEFAULT false"];

const DOWN: &[&str] = &["ALTER TABLE rooms DROP COLUMN stream_durable"];

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

//! The last ended generation of a seat's tokens: those of earlier holders, and those ended because an outdated one
//! was used again.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["ALTER TABLE room_seats ADD COLUMN tokens_ended bigint NOT NULL DEFAULT 0"];

const DOWN: &[&str] = &["ALTER TABLE room_seats DROP COLUMN tokens_ended"];

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

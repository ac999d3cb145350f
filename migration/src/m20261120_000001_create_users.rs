//! Users: the game's accounts, and guests.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["CREATE TABLE users (
    id text NOT NULL PRIMARY KEY,
    name text NOT NULL,
    is_guest boolean NOT NULL,
    is_active boolean NOT NULL,
    credits bigint NOT NULL CHECK (credits >= 0),
    created_at bigint NOT NULL
)"];

const DOWN: &[&str] = &["DROP TABLE users"];

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

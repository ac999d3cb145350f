//! Rooms, found by id or by code.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE rooms (
    id {uuid} NOT NULL PRIMARY KEY,
    code text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'ready', 'playing', 'closed')),
    settings text NOT NULL,
    grace bigint NOT NULL,
    current_game_id text,
    stream_epoch text NOT NULL,
    stream_top bigint NOT NULL,
    owner_epoch bigint NOT NULL,
    created_at bigint NOT NULL,
    closed_at bigint
)",
    "CREATE UNIQUE INDEX rooms_code ON rooms (code)",
];

const DOWN: &[&str] = &["DROP TABLE rooms"];

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

//! Publications of rooms: durable histories, and memory histories across a planned stop.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[r#"CREATE TABLE room_publications (
    room_id {uuid} NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    epoch text NOT NULL,
    "offset" bigint NOT NULL,
    data {bytes} NOT NULL,
    info {bytes},
    tags {bytes},
    time bigint NOT NULL,
    PRIMARY KEY (room_id, epoch, "offset")
)"#];

const DOWN: &[&str] = &["DROP TABLE room_publications"];

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

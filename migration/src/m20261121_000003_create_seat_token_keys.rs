//! The key that the hub generated to sign seat tokens. Only PostgreSQL stores it here, so that it is there wherever
//! the hub starts; with SQLite it is a file next to the database.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["CREATE TABLE seat_token_keys (
    id integer PRIMARY KEY CHECK (id = 1),
    pem text NOT NULL,
    created_at bigint NOT NULL
)"];

const DOWN: &[&str] = &["DROP TABLE seat_token_keys"];

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

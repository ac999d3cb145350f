//! Sessions. Hosted PostgreSQL services reserve the name `sessions`.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE app_sessions (
    id {uuid} NOT NULL PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    created_at bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    ended_at bigint
) {roomy}",
    "CREATE INDEX app_sessions_user_id ON app_sessions (user_id)",
];

const DOWN: &[&str] = &["DROP TABLE app_sessions"];

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

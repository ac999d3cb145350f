//! The end of the login that made a session.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &["ALTER TABLE app_sessions ADD COLUMN login_until bigint"];

const DOWN: &[&str] = &["ALTER TABLE app_sessions DROP COLUMN login_until"];

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

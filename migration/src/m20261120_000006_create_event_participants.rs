//! Participants: users and their scores on a room's leaderboard.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE event_participants (
    room_id {uuid} NOT NULL
        REFERENCES rooms (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    user_id text NOT NULL
        REFERENCES users (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    score bigint NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (room_id, user_id)
)",
    "CREATE INDEX event_participants_user_id ON event_participants (user_id)",
    "CREATE INDEX event_participants_room_id_score ON event_participants (room_id, score DESC)",
];

const DOWN: &[&str] = &["DROP TABLE event_participants"];

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

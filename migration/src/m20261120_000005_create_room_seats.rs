//! Held and away seats. Foreign keys are checked at the commit: the contended seat is inserted first, before the user
//! and the session of its command.

use sea_orm_migration::prelude::*;

use crate::schema;

const UP: &[&str] = &[
    "CREATE TABLE room_seats (
    room_id {uuid} NOT NULL REFERENCES rooms (id) DEFERRABLE INITIALLY DEFERRED,
    seat integer NOT NULL,
    team text,
    session_id {uuid} NOT NULL REFERENCES app_sessions (id) DEFERRABLE INITIALLY DEFERRED,
    user_id text NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    status text NOT NULL CHECK (status IN ('held', 'away')),
    last_heartbeat_at bigint NOT NULL,
    away_since bigint,
    hold_until bigint,
    token_generation bigint NOT NULL,
    PRIMARY KEY (room_id, seat),
    CHECK ((status = 'held') = (hold_until IS NULL))
) {roomy}",
    "CREATE UNIQUE INDEX room_seats_room_id_user_id ON room_seats (room_id, user_id)",
    "CREATE INDEX room_seats_session_id ON room_seats (session_id)",
    "CREATE INDEX room_seats_user_id ON room_seats (user_id)",
];

const DOWN: &[&str] = &["DROP TABLE room_seats"];

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

//! Holdfast's schema: one dated file per change, each with its rollback.
//!
//! The files are SQL, because the schema builder does not support deferred foreign keys, which a claim needs. They
//! never name the `entity` crate: a migration must keep its meaning when the tables change.

use sea_orm_migration::prelude::*;

mod m20261120_000001_create_users;
mod m20261120_000002_create_rooms;
mod m20261120_000003_create_app_sessions;
mod m20261120_000004_create_session_tokens;
mod m20261120_000005_create_room_seats;
mod m20261120_000006_create_event_participants;
mod m20261120_000007_create_room_publications;
mod m20261120_000008_create_commands;
mod m20261120_000009_create_commit_groups;
mod m20261120_000010_create_hub_clock;
mod m20261121_000001_add_stream_durable;
mod m20261121_000002_add_tokens_ended;
mod m20261121_000003_create_seat_token_keys;
mod m20261130_000001_add_login_until;
mod schema;

pub use sea_orm_migration::MigratorTrait;

/// The migrations, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261120_000001_create_users::Migration),
            Box::new(m20261120_000002_create_rooms::Migration),
            Box::new(m20261120_000003_create_app_sessions::Migration),
            Box::new(m20261120_000004_create_session_tokens::Migration),
            Box::new(m20261120_000005_create_room_seats::Migration),
            Box::new(m20261120_000006_create_event_participants::Migration),
            Box::new(m20261120_000007_create_room_publications::Migration),
            Box::new(m20261120_000008_create_commands::Migration),
            Box::new(m20261120_000009_create_commit_groups::Migration),
            Box::new(m20261120_000010_create_hub_clock::Migration),
            Box::new(m20261121_000001_add_stream_durable::Migration),
            Box::new(m20261121_000002_add_tokens_ended::Migration),
            Box::new(m20261121_000003_create_seat_token_keys::Migration),
            Box::new(m20261130_000001_add_login_until::Migration),
        ]
    }
}

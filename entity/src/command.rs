//! An idempotency key and its stored response, so that a replay changes nothing.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    /// The owner of the key: a session, a user, a guest, a game server's API key or a room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// The hash of the client's key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request, to detect a key that is reused for another one.
    pub content_hash: Vec<u8>,
    /// The response, as JSON.
    pub answer: String,
    /// Milliseconds of hub time.
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

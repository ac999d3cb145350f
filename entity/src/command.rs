//! A request that was carried out, so that asking again changes nothing.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub struct Model {
    /// Whose key it is: a session, a user, an API key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// The client's own.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request, so that a key used for another one is noticed.
    pub content_hash: Vec<u8>,
    /// JSON.
    pub answer: String,
    /// Milliseconds of hub time.
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

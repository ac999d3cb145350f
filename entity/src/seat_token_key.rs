//! The key that the hub made itself to sign seat tokens with.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "seat_token_keys")]
pub struct Model {
    /// Always 1: there is one.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// Private.
    pub pem: String,
    pub created_at: i64,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Model([REDACTED])")
    }
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! The key that the hub generated to sign seat tokens.

use sea_orm::entity::prelude::*;

#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "seat_token_keys")]
pub struct Model {
    /// Always 1: there is only one key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The private key.
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

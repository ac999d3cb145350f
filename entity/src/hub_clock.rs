//! The last moment at which a hub was alive, in its own time.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "hub_clock")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub node: String,
    /// Milliseconds of hub time.
    pub last_heartbeat_at: i64,
    /// True if the hub stopped as planned and wrote its memory histories out.
    pub clean_stop: bool,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

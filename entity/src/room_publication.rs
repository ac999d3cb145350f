//! One publication of a room's stream.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "room_publications")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: String,
    /// Counted from 1 within the epoch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub offset: i64,
    pub data: Vec<u8>,
    /// The publisher as JSON, if there was one.
    pub info: Option<Vec<u8>>,
    /// A JSON object, if there are tags.
    pub tags: Option<Vec<u8>>,
    /// Milliseconds of hub time.
    pub time: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

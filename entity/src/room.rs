//! A room: its code, its settings and the position of its stream.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rooms")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Six characters with which players invite each other.
    #[sea_orm(unique)]
    pub code: String,
    /// The configured template.
    pub kind: String,
    /// `open`, `ready`, `playing` or `closed`.
    pub status: String,
    /// A JSON object.
    pub settings: String,
    /// How long an away seat is kept, in milliseconds.
    pub grace: i64,
    pub current_game_id: Option<String>,
    pub stream_epoch: String,
    /// The offset of the last publication that was written.
    pub stream_top: i64,
    /// True if every publication is stored before it is delivered.
    pub stream_durable: bool,
    /// The term of the owner that may write to the room.
    pub owner_epoch: i64,
    /// Milliseconds of hub time.
    pub created_at: i64,
    /// Milliseconds of hub time; none while open.
    pub closed_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

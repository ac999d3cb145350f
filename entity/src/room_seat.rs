//! A held or away seat. An empty seat has no row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "room_seats")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: Uuid,
    /// Counted from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seat: i32,
    pub team: Option<String>,
    pub session_id: Uuid,
    /// A user holds at most one seat in a room.
    pub user_id: String,
    /// `held` or `away`.
    pub status: String,
    /// When the holder was last known to be connected, in milliseconds of hub time.
    pub last_heartbeat_at: i64,
    /// Milliseconds of hub time; none while held.
    pub away_since: Option<i64>,
    /// Milliseconds of hub time; none while held.
    pub hold_until: Option<i64>,
    /// The confirmed generation of the seat's tokens.
    pub token_generation: i64,
    /// Generations up to this one have ended.
    pub tokens_ended: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

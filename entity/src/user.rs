//! A user: an account of the game, or a guest.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The game's own id, or a UUID v7 as text for a guest.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Shown to other players.
    pub name: String,
    pub is_guest: bool,
    /// True if the user may open sessions and claim seats.
    pub is_active: bool,
    /// The balance that pays for seats, in the game's own unit.
    pub credits: i64,
    /// Milliseconds of hub time.
    pub created_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

//! A session. Hosted PostgreSQL services reserve the name `sessions`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "app_sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: String,
    /// Milliseconds of hub time.
    pub created_at: i64,
    /// Milliseconds of hub time.
    pub last_seen_at: i64,
    /// Milliseconds of hub time.
    pub expires_at: i64,
    /// Milliseconds of hub time; none while the session is live.
    pub ended_at: Option<i64>,
    /// Milliseconds of hub time; none without a login, or with one that does not end.
    pub login_until: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

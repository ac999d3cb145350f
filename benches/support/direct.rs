//! The usual design, for comparison: a transaction for each request, with the same rows, tables and durability.

use std::time::Duration;

use ::entity::{app_session, event_participant, room, room_seat, session_token, user};
use holdfast::id::{RoomId, SessionId, SessionToken, UserId};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, EntityTrait, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

use super::code::next_code;
use super::fresh::NewSessionDraft;

/// Limit on the wait for a connection: with 256 callers for one, the last caller waits for all others.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

const HOUR_MILLIS: i64 = 3_600_000;

/// A pool of connections.
pub(crate) struct Direct(DatabaseConnection);

impl Direct {
    pub(crate) async fn open(fresh: &NewSessionDraft, pool: u32) -> Direct {
        fresh.migrate().await;
        let mut options = ConnectOptions::new(fresh.url());
        options
            .max_connections(pool)
            .min_connections(pool)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .sqlx_logging(false)
            // The same as for the daemon's writer.
            .map_sqlx_sqlite_opts(|options| {
                options
                    .pragma("journal_mode", "wal")
                    .pragma("synchronous", "full")
                    .pragma("cache_size", "-65536")
                    .pragma("wal_autocheckpoint", "10000")
            });
        Direct(Database::connect(options).await.expect("it is migrated"))
    }

    pub(crate) async fn create(&self) -> Result<(), DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.0.begin_with_options(options).await?;
        let (room_id, session_id) = (RoomId::new().0, SessionId::new().0);
        let user_id = UserId::guest().as_str().to_owned();
        let now = now();
        let user = user::ActiveModel {
            id: Set(user_id.clone()),
            name: Set("Guest".into()),
            is_guest: Set(true),
            is_active: Set(true),
            credits: Set(0),
            created_at: Set(now),
        };
        let room = room_row(room_id, now);
        let session = app_session::ActiveModel {
            id: Set(session_id),
            user_id: Set(user_id.clone()),
            created_at: Set(now),
            last_seen_at: Set(now),
            expires_at: Set(now + HOUR_MILLIS),
            ended_at: Set(None),
            login_until: Set(None),
        };
        let token = session_token::ActiveModel {
            hash: Set(SessionToken::random().hash().0.to_vec()),
            session_id: Set(session_id),
            created_at: Set(now),
        };
        let seat = seat_row(room_id, session_id, user_id.clone(), now);
        let participant = event_participant::ActiveModel {
            room_id: Set(room_id),
            user_id: Set(user_id),
            score: Set(0),
            created_at: Set(now),
        };
        let on = &transaction;
        user::Entity::insert(user)
            .exec_without_returning(on)
            .await?;
        room::Entity::insert(room)
            .exec_without_returning(on)
            .await?;
        app_session::Entity::insert(session)
            .exec_without_returning(on)
            .await?;
        session_token::Entity::insert(token)
            .exec_without_returning(on)
            .await?;
        room_seat::Entity::insert(seat)
            .exec_without_returning(on)
            .await?;
        event_participant::Entity::insert(participant)
            .exec_without_returning(on)
            .await?;
        transaction.commit().await
    }

    pub(crate) async fn close(&self) {
        self.0.close_by_ref().await.expect("no caller is left");
    }
}

fn seat_row(
    room_id: uuid::Uuid,
    session_id: uuid::Uuid,
    user_id: String,
    now: i64,
) -> room_seat::ActiveModel {
    room_seat::ActiveModel {
        room_id: Set(room_id),
        seat: Set(0),
        team: Set(None),
        session_id: Set(session_id),
        user_id: Set(user_id),
        status: Set("held".into()),
        last_heartbeat_at: Set(now),
        away_since: Set(None),
        hold_until: Set(None),
        token_generation: Set(0),
        tokens_ended: Set(0),
    }
}

fn room_row(id: uuid::Uuid, now: i64) -> room::ActiveModel {
    room::ActiveModel {
        id: Set(id),
        code: Set(next_code().as_str().into()),
        kind: Set("table".into()),
        status: Set("open".into()),
        settings: Set("{}".into()),
        grace: Set(HOUR_MILLIS),
        current_game_id: Set(None),
        stream_epoch: Set("benchmark".into()),
        stream_top: Set(0),
        stream_durable: Set(false),
        owner_epoch: Set(0),
        created_at: Set(now),
        closed_at: Set(None),
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

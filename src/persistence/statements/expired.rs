//! The sweep: deletes expired rows, a bounded number at a time.
//!
//! It runs after all other changes of a group and checks each row again, so that a row in use stays.

use sea_orm::{DatabaseTransaction, DbErr, Value};

use super::Outcomes;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::once::scope_of_session;
use crate::persistence::{Command, Committed, ExpiredRows, MaintenanceCommand, Sweep, Swept};

/// Rows of one table deleted at once: a statement of a few milliseconds.
const ROWS_MAX: usize = 500;

/// The same for publications, which may have 64 KiB each.
const PUBLICATIONS_MAX: usize = 50;

const DEAD: Columns = &[("id", Type::Uuid), ("before", Type::Int)];

const BEFORE: Columns = &[("before", Type::Int)];

/// The condition that a session of `v` is over and holds no seat.
const IS_OVER: &str = "COALESCE(s.ended_at, s.expires_at) < v.before \
                       AND NOT EXISTS (SELECT 1 FROM room_seats r WHERE r.session_id = s.id)";

pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    for (index, item) in items.iter().enumerate() {
        if let Command::Maintenance(MaintenanceCommand::Sweep(sweep)) = &item.command {
            let swept = self::sweep(transaction, sweep).await?;
            outcomes.commit(index, Committed::Swept(swept));
        }
    }
    Ok(())
}

async fn sweep(transaction: &DatabaseTransaction, sweep: &Sweep) -> Result<Swept, DbErr> {
    let before = || Value::from(sweep.before.0);
    let dead = |ids: &mut dyn Iterator<Item = uuid::Uuid>| {
        let mut rows = Rows::new(DEAD);
        for id in ids {
            rows.push([id.into(), before()]);
        }
        rows
    };
    match &sweep.what {
        ExpiredRows::Sessions(ids) => {
            let over = dead(&mut ids.iter().map(|id| id.0));
            sessions(transaction, over).await
        }
        ExpiredRows::Rooms(ids) => {
            let closed = || dead(&mut ids.iter().map(|id| id.0));
            rooms(transaction, closed).await
        }
        ExpiredRows::Histories(ids) => {
            let of_rooms = dead(&mut ids.iter().map(|id| id.0));
            histories(transaction, of_rooms).await
        }
        ExpiredRows::Keys => {
            let sql = format!(
                "DELETE FROM commands WHERE (scope, key) IN (SELECT scope, key FROM commands \
                 WHERE created_at < (SELECT before FROM v) ORDER BY created_at LIMIT {ROWS_MAX})"
            );
            Ok(vec![("commands", old(transaction, before(), &sql).await?)])
        }
        ExpiredRows::Groups => {
            let sql = format!(
                "DELETE FROM commit_groups WHERE id IN (SELECT id FROM commit_groups \
                 WHERE created_at < (SELECT before FROM v) ORDER BY created_at LIMIT {ROWS_MAX})"
            );
            Ok(vec![(
                "commit_groups",
                old(transaction, before(), &sql).await?,
            )])
        }
    }
}

async fn old(transaction: &DatabaseTransaction, before: Value, sql: &str) -> Result<u64, DbErr> {
    let mut rows = Rows::new(BEFORE);
    rows.push([before]);
    rows.execute(transaction, sql).await
}

async fn sessions(transaction: &DatabaseTransaction, dead: Rows) -> Result<Swept, DbErr> {
    let over = dead
        .query(
            transaction,
            &format!(
                "SELECT s.id, s.user_id FROM v JOIN app_sessions s ON s.id = v.id WHERE {IS_OVER}"
            ),
        )
        .await?;
    let ids = || Rows::new(&[("id", Type::Uuid)]);
    let (mut tokens, mut sessions) = (ids(), ids());
    let mut scopes = Rows::new(&[("scope", Type::Text)]);
    let mut users = Vec::with_capacity(over.len());
    for row in over {
        let id: uuid::Uuid = row.try_get_by_index(0)?;
        tokens.push([id.into()]);
        sessions.push([id.into()]);
        scopes.push([scope_of_session(crate::id::SessionId(id)).into()]);
        users.push(row.try_get_by_index(1)?);
    }
    let sql = "DELETE FROM session_tokens WHERE session_id IN (SELECT id FROM v)";
    let tokens = tokens.execute(transaction, sql).await?;
    let sql = "DELETE FROM commands WHERE scope IN (SELECT scope FROM v)";
    let keys = scopes.execute(transaction, sql).await?;
    let sql = "DELETE FROM app_sessions WHERE id IN (SELECT id FROM v)";
    let sessions = sessions.execute(transaction, sql).await?;
    Ok(vec![
        ("session_tokens", tokens),
        ("commands", keys),
        ("app_sessions", sessions),
        ("users", guests(transaction, users).await?),
    ])
}

/// Deletes written-out publications of memory streams: once their rooms have moved on, none is of use.
async fn histories(transaction: &DatabaseTransaction, rooms: Rows) -> Result<Swept, DbErr> {
    let sql = format!(
        "DELETE FROM room_publications WHERE (room_id, epoch, \"offset\") IN \
         (SELECT p.room_id, p.epoch, p.\"offset\" FROM v JOIN rooms r ON r.id = v.id \
         JOIN room_publications p ON p.room_id = r.id WHERE NOT r.stream_durable LIMIT {ROWS_MAX})"
    );
    let publications = rooms.execute(transaction, &sql).await?;
    Ok(vec![("room_publications", publications)])
}

/// Deletes closed rooms. A room is deleted after the last of its rows, which may take several sweeps.
async fn rooms(
    transaction: &DatabaseTransaction,
    closed: impl Fn() -> Rows,
) -> Result<Swept, DbErr> {
    let sql = format!(
        "DELETE FROM room_publications WHERE (room_id, epoch, \"offset\") IN \
         (SELECT p.room_id, p.epoch, p.\"offset\" FROM v JOIN rooms r ON r.id = v.id \
         JOIN room_publications p ON p.room_id = r.id WHERE r.closed_at < v.before \
         LIMIT {PUBLICATIONS_MAX})"
    );
    let publications = closed().execute(transaction, &sql).await?;
    let sql = format!(
        "DELETE FROM event_participants WHERE (room_id, user_id) IN \
         (SELECT p.room_id, p.user_id FROM v JOIN rooms r ON r.id = v.id \
         JOIN event_participants p ON p.room_id = r.id WHERE r.closed_at < v.before \
         LIMIT {ROWS_MAX}) RETURNING user_id"
    );
    let mut users = Vec::new();
    for row in closed().query(transaction, &sql).await? {
        users.push(row.try_get_by_index(0)?);
    }
    let participants = users.len() as u64;
    let rooms = closed()
        .execute(
            transaction,
            "DELETE FROM rooms WHERE id IN (SELECT v.id FROM v \
             JOIN rooms r ON r.id = v.id WHERE r.closed_at < v.before \
             AND NOT EXISTS (SELECT 1 FROM room_seats s WHERE s.room_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM event_participants p WHERE p.room_id = r.id) \
             AND NOT EXISTS (SELECT 1 FROM room_publications p WHERE p.room_id = r.id))",
        )
        .await?;
    Ok(vec![
        ("room_publications", publications),
        ("event_participants", participants),
        ("users", guests(transaction, users).await?),
        ("rooms", rooms),
    ])
}

/// Deletes those users who are guests and have no session, seat or score left.
async fn guests(transaction: &DatabaseTransaction, users: Vec<String>) -> Result<u64, DbErr> {
    let mut rows = Rows::new(&[("id", Type::Text)]);
    for user in users {
        rows.push([user.into()]);
    }
    rows.execute(
        transaction,
        "DELETE FROM users WHERE id IN (SELECT id FROM v) AND is_guest \
         AND NOT EXISTS (SELECT 1 FROM app_sessions s WHERE s.user_id = users.id) \
         AND NOT EXISTS (SELECT 1 FROM room_seats r WHERE r.user_id = users.id) \
         AND NOT EXISTS (SELECT 1 FROM event_participants p WHERE p.user_id = users.id)",
    )
    .await
}

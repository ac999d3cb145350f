//! Sessions and their tokens.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::player_command::{Entry, Session};
use crate::clock::HubTime;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{Command, Refused, SessionCommand};

/// The most tokens that a session may have.
const TOKENS_MAX: usize = 8;

const KNOWN: Columns = &[("id", Type::Uuid), ("user_id", Type::Text)];

const SESSION: Columns = &[
    ("id", Type::Uuid),
    ("user_id", Type::Text),
    ("at", Type::Int),
    ("expires_at", Type::Int),
    ("login_until", Type::IntOrNull),
];

pub(super) const TOKEN: Columns = &[
    ("hash", Type::Bytes),
    ("session_id", Type::Uuid),
    ("at", Type::Int),
];

/// Refuses and drops entries whose session has ended or is not their user's.
pub(super) async fn refuse_ended(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(KNOWN);
    for entry in entries.iter() {
        if let Session::Known(id) = entry.session {
            rows.push([id.0.into(), entry.user.id().as_str().into()]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let lock = if transaction.get_database_backend() == DbBackend::Postgres {
        " FOR KEY SHARE OF s"
    } else {
        ""
    };
    let sql = format!(
        "SELECT s.id FROM v JOIN app_sessions s ON s.id = v.id AND s.user_id = v.user_id \
         WHERE s.ended_at IS NULL{lock}"
    );
    let mut living: HashSet<Uuid> = HashSet::new();
    for row in rows.query(transaction, &sql).await? {
        living.insert(row.try_get_by_index(0)?);
    }
    entries.retain(|entry| {
        let is_in = match entry.session {
            Session::Known(id) => living.contains(&id.0),
            Session::New(_) => true,
        };
        if !is_in {
            outcomes.refuse(entry.index, Refused::SessionEnded);
        }
        is_in
    });
    Ok(())
}

/// Inserts the new sessions and their tokens.
pub(super) async fn open(
    transaction: &DatabaseTransaction,
    entries: &[Entry<'_>],
    now: HubTime,
) -> Result<(), DbErr> {
    let mut sessions = Rows::new(SESSION);
    let mut tokens = Rows::new(TOKEN);
    for entry in entries {
        let Session::New(session) = entry.session else {
            continue;
        };
        sessions.push([
            session.id.0.into(),
            entry.user.id().as_str().into(),
            now.0.into(),
            session.expires_at.0.into(),
            session.login_until.map(|until| until.0).into(),
        ]);
        if let Some(token) = &session.token {
            tokens.push([token.0.to_vec().into(), session.id.0.into(), now.0.into()]);
        }
    }
    sessions
        .execute(
            transaction,
            "INSERT INTO app_sessions (id, user_id, created_at, last_seen_at, expires_at, login_until) \
             SELECT id, user_id, at, at, expires_at, login_until FROM v",
        )
        .await?;
    insert_tokens(transaction, tokens).await
}

/// Inserts tokens, each a row of [`TOKEN`].
pub(super) async fn insert_tokens(
    transaction: &DatabaseTransaction,
    tokens: Rows,
) -> Result<(), DbErr> {
    let sql = "INSERT INTO session_tokens (hash, session_id, created_at) \
               SELECT hash, session_id, at FROM v";
    tokens.execute(transaction, sql).await?;
    Ok(())
}

/// Adds tokens to live sessions. Beyond [`TOKENS_MAX`] the oldest is dropped, but never the first, which the client may
/// still have. Those in between may never have reached it.
pub(super) async fn add_tokens(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(TOKEN);
    let mut sessions = Rows::new(&[("session_id", Type::Uuid)]);
    let mut adds = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Command::Session(SessionCommand::AddToken(add)) = &item.command
            && !outcomes.is_settled(index)
        {
            // Later than the first one, even if that was created in this very millisecond.
            let at = now.0.saturating_add(1);
            rows.push([add.token.0.to_vec().into(), add.session.0.into(), at.into()]);
            sessions.push([add.session.0.into()]);
            adds.push((index, add.session.0));
        }
    }
    let added = rows
        .query(
            transaction,
            "INSERT INTO session_tokens (hash, session_id, created_at) \
             SELECT v.hash, v.session_id, v.at FROM v JOIN app_sessions s ON s.id = v.session_id \
             WHERE s.ended_at IS NULL AND (s.expires_at >= v.at OR EXISTS \
             (SELECT 1 FROM room_seats r WHERE r.session_id = s.id)) RETURNING session_id",
        )
        .await?;
    let mut living: HashSet<Uuid> = HashSet::with_capacity(added.len());
    for row in added {
        living.insert(row.try_get_by_index(0)?);
    }
    for (index, session) in adds {
        outcomes.done_or(Refused::SessionEnded, index, living.contains(&session));
    }
    let newest = TOKENS_MAX - 1;
    let sql = format!(
        "DELETE FROM session_tokens WHERE hash IN (SELECT hash FROM (SELECT hash, \
         ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY created_at, hash) AS from_oldest, \
         ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY created_at DESC, hash DESC) \
         AS from_newest \
         FROM session_tokens WHERE session_id IN (SELECT session_id FROM v)) AS aged \
         WHERE from_oldest > 1 AND from_newest > {newest})"
    );
    sessions.execute(transaction, &sql).await?;
    Ok(())
}

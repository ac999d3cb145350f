//! A guest's login: one commit moves the session, its seats and its scores to the account.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::Outcomes;
use super::player_command::{Entry, Session};
use super::seats::{self, keep_others_out};
use super::session_events::{self, Asker, SessionChange, Told};
use super::sessions;
use super::users::Users;
use crate::clock::HubTime;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::{AdoptSession, Command, Committed, Refused, SessionCommand};
use crate::token::Generations;

const MOVE: Columns = &[
    ("session_id", Type::Uuid),
    ("guest_id", Type::Text),
    ("user_id", Type::Text),
];

const SESSION: Columns = &[
    ("id", Type::Uuid),
    ("user_id", Type::Text),
    ("seen_at", Type::Int),
    ("expires_at", Type::Int),
    ("login_until", Type::IntOrNull),
];

/// Adopts the sessions, and returns the events of their seats. `writer::batching::cut` puts such a command into a
/// group of its own.
pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    seats_max: usize,
    outcomes: &mut Outcomes,
) -> Result<Vec<Told>, DbErr> {
    let mut told = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Command::Session(SessionCommand::Adopt(adopt)) = &item.command else {
            continue;
        };
        if outcomes.is_settled(index) {
            continue;
        }
        let mut entries = vec![Entry::new(
            index,
            &adopt.user,
            Session::Known(adopt.session),
        )];
        let mut users = Users::load(transaction, &entries).await?;
        users.admit(&mut entries, outcomes);
        if entries.is_empty() {
            continue;
        }
        if let Err(refused) = check(transaction, adopt, seats_max).await? {
            outcomes.refuse(index, refused);
            continue;
        }
        users.write(transaction, &entries, now, outcomes).await?;
        let name = outcomes.committed(index).and_then(Committed::name).cloned();
        let name = name.unwrap_or_else(|| adopt.user.id().as_str().into());
        told.extend(adopt_session(transaction, index, adopt, now).await?);
        let adopted = Committed::Adopted {
            name,
            told: Vec::new(),
        };
        outcomes.commit(index, adopted);
    }
    Ok(told)
}

/// Returns whether the session may become the user's. Writes nothing.
async fn check(
    transaction: &DatabaseTransaction,
    adopt: &AdoptSession,
    seats_max: usize,
) -> Result<Result<(), Refused>, DbErr> {
    let is_postgres = transaction.get_database_backend() == DbBackend::Postgres;
    let mut user = Rows::new(seats::ID);
    user.push([adopt.user.id().as_str().into()]);
    keep_others_out(transaction, user).await?;
    let lock = if is_postgres { " FOR UPDATE OF s" } else { "" };
    let sql = format!(
        "SELECT u.is_guest FROM v JOIN app_sessions s ON s.id = v.session_id AND s.user_id = v.guest_id \
         JOIN users u ON u.id = s.user_id WHERE s.ended_at IS NULL{lock}"
    );
    let found = rows(adopt).query(transaction, &sql).await?;
    let Some(found) = found.first() else {
        return Ok(Err(Refused::SessionEnded));
    };
    if !found.try_get_by_index::<bool>(0)? {
        return Ok(Err(Refused::NotGuest));
    }
    let sql = "SELECT \
               (SELECT COUNT(*) FROM room_seats a JOIN room_seats b ON b.room_id = a.room_id \
                WHERE a.session_id = v.session_id AND b.user_id = v.user_id), \
               (SELECT COUNT(*) FROM room_seats WHERE session_id = v.session_id), \
               (SELECT COUNT(*) FROM room_seats WHERE user_id = v.user_id) FROM v";
    let counts = rows(adopt).query(transaction, sql).await?;
    let Some(counts) = counts.first() else {
        return Ok(Err(Refused::SessionEnded));
    };
    let (shared, moved): (i64, i64) = (counts.try_get_by_index(0)?, counts.try_get_by_index(1)?);
    let held: i64 = counts.try_get_by_index(2)?;
    let most = i64::try_from(seats_max).unwrap_or(i64::MAX);
    Ok(if shared > 0 {
        Err(Refused::AlreadySeated)
    } else if most > 0 && moved > 0 && held + moved > most {
        Err(Refused::TooManySeats { most: seats_max })
    } else {
        Ok(())
    })
}

async fn adopt_session(
    transaction: &DatabaseTransaction,
    index: usize,
    adopt: &AdoptSession,
    now: HubTime,
) -> Result<Vec<Told>, DbErr> {
    let mut session = Rows::new(SESSION);
    session.push([
        adopt.session.0.into(),
        adopt.user.id().as_str().into(),
        now.0.into(),
        adopt.expires_at.0.into(),
        adopt.login_until.map(|until| until.0).into(),
    ]);
    let sql = "UPDATE app_sessions SET user_id = v.user_id, last_seen_at = v.seen_at, \
               expires_at = v.expires_at, login_until = v.login_until FROM v \
               WHERE app_sessions.id = v.id";
    session.execute(transaction, sql).await?;
    move_scores(transaction, adopt).await?;
    renew_tokens(transaction, adopt, now).await?;
    let sql = format!(
        "UPDATE room_seats SET user_id = v.user_id, \
         token_generation = room_seats.token_generation + {} \
         FROM v WHERE room_seats.session_id = v.session_id \
         RETURNING room_seats.room_id, room_seats.session_id, room_seats.seat, room_seats.team, \
         room_seats.user_id",
        Generations::PER_USER
    );
    let seats = rows(adopt).query(transaction, &sql).await?;
    let asker = Asker {
        index,
        session: adopt.session,
        change: SessionChange::Adopted,
    };
    session_events::of_seats(transaction, &[asker], seats, now).await
}

/// Moves the scores to the user. Where both have one, the better one stays.
async fn move_scores(transaction: &DatabaseTransaction, adopt: &AdoptSession) -> Result<(), DbErr> {
    for sql in [
        "UPDATE event_participants SET score = g.score FROM v, event_participants g \
         WHERE g.user_id = v.guest_id AND event_participants.user_id = v.user_id \
         AND event_participants.room_id = g.room_id AND event_participants.score < g.score",
        "DELETE FROM event_participants WHERE user_id IN (SELECT guest_id FROM v) AND room_id IN \
         (SELECT p.room_id FROM event_participants p WHERE p.user_id IN (SELECT user_id FROM v))",
        "UPDATE event_participants SET user_id = v.user_id FROM v \
         WHERE event_participants.user_id = v.guest_id",
    ] {
        rows(adopt).execute(transaction, sql).await?;
    }
    Ok(())
}

async fn renew_tokens(
    transaction: &DatabaseTransaction,
    adopt: &AdoptSession,
    now: HubTime,
) -> Result<(), DbErr> {
    let sql = "DELETE FROM session_tokens WHERE session_id IN (SELECT session_id FROM v)";
    rows(adopt).execute(transaction, sql).await?;
    let mut token = Rows::new(sessions::TOKEN);
    token.push([
        adopt.token.0.to_vec().into(),
        adopt.session.0.into(),
        now.0.into(),
    ]);
    sessions::insert_tokens(transaction, token).await
}

fn rows(adopt: &AdoptSession) -> Rows {
    let mut rows = Rows::new(MOVE);
    rows.push([
        adopt.session.0.into(),
        adopt.guest.as_str().into(),
        adopt.user.id().as_str().into(),
    ]);
    rows
}

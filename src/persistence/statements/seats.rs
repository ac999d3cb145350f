//! Rooms and seats, the rows for which commands compete, and the number of seats that a user holds.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};
use uuid::Uuid;

use super::Outcomes;
use super::player_command::Entry;
use crate::clock::{HubTime, millis};
use crate::id::UserId;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::{Refused, UserWrite};

pub(super) const ID: Columns = &[("id", Type::Text)];

/// Separates these advisory locks from all others of the hub: "seat" in ASCII.
const LOCK_CLASS: i32 = 0x7365_6174;

const ROOM: Columns = &[
    ("id", Type::Uuid),
    ("code", Type::Text),
    ("kind", Type::Text),
    ("settings", Type::Text),
    ("grace", Type::Int),
    ("stream_epoch", Type::Text),
    ("created_at", Type::Int),
];

const SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("seat", Type::Int),
    ("team", Type::TextOrNull),
    ("session_id", Type::Uuid),
    ("user_id", Type::Text),
    ("status", Type::Text),
    ("seen_at", Type::Int),
    ("away_since", Type::IntOrNull),
    ("hold_until", Type::IntOrNull),
    ("token_generation", Type::Int),
    ("tokens_ended", Type::Int),
];

const PARTICIPANT: Columns = &[
    ("room_id", Type::Uuid),
    ("user_id", Type::Text),
    ("at", Type::Int),
];

/// Inserts the new rooms. An entry whose code is taken is refused and dropped.
pub(super) async fn open_rooms(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(ROOM);
    for room in entries.iter().filter_map(|entry| entry.room) {
        rows.push([
            room.id.0.into(),
            room.code.as_str().into(),
            (&*room.kind).into(),
            (&*room.settings).into(),
            millis(room.grace).into(),
            (&*room.stream_epoch).into(),
            now.0.into(),
        ]);
    }
    // Only the code may conflict: a duplicate id would be a bug, and fails the group.
    let inserted = rows
        .query(
            transaction,
            "INSERT INTO rooms (id, code, kind, status, settings, grace, stream_epoch, stream_top, \
             owner_epoch, created_at) \
             SELECT id, code, kind, 'open', settings, grace, stream_epoch, 0, 0, created_at \
             FROM v WHERE true ON CONFLICT (code) DO NOTHING RETURNING id",
        )
        .await?;
    let mut opened: HashSet<Uuid> = HashSet::with_capacity(inserted.len());
    for row in inserted {
        opened.insert(row.try_get_by_index(0)?);
    }
    entries.retain(|entry| {
        let is_in = entry.room.is_none_or(|room| opened.contains(&room.id.0));
        if !is_in {
            outcomes.refuse(entry.index, Refused::CodeTaken);
        }
        is_in
    });
    Ok(())
}

/// Inserts the seats. An entry is refused and dropped if its seat is taken, or its user already has one in the room.
pub(super) async fn claim(
    transaction: &DatabaseTransaction,
    entries: &mut Vec<Entry<'_>>,
    now: HubTime,
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(SEAT);
    for entry in entries.iter() {
        let Some((room, seat)) = entry.seat else {
            continue;
        };
        let is_away = seat.hold_until.is_some();
        rows.push([
            room.0.into(),
            i64::from(seat.number).into(),
            seat.team.as_deref().map(str::to_owned).into(),
            entry.session.id().0.into(),
            entry.user.id().as_str().into(),
            if is_away { "away" } else { "held" }.into(),
            now.0.into(),
            is_away.then_some(now.0).into(),
            seat.hold_until.map(|hold| hold.0).into(),
            seat.tokens.confirmed.into(),
            seat.tokens.ended.into(),
        ]);
    }
    let inserted = rows
        .query(
            transaction,
            "INSERT INTO room_seats (room_id, seat, team, session_id, user_id, status, \
             last_heartbeat_at, away_since, hold_until, token_generation, tokens_ended) \
             SELECT room_id, seat, team, session_id, user_id, status, seen_at, away_since, \
             hold_until, token_generation, tokens_ended FROM v WHERE true ON CONFLICT DO NOTHING \
             RETURNING room_id, seat, session_id",
        )
        .await?;
    let mut claimed: HashSet<(Uuid, i32, Uuid)> = HashSet::with_capacity(inserted.len());
    for row in inserted {
        claimed.insert((
            row.try_get_by_index(0)?,
            row.try_get_by_index(1)?,
            row.try_get_by_index(2)?,
        ));
    }
    entries.retain(|entry| {
        let Some((room, seat)) = entry.seat else {
            return true;
        };
        // Removed from the set, so that of two equal claims in a group only the earlier one wins.
        let key = (room.0, i32::from(seat.number), entry.session.id().0);
        let is_in = claimed.remove(&key);
        if !is_in {
            outcomes.refuse(entry.index, Refused::SeatTaken);
        }
        is_in
    });
    Ok(())
}

/// Adds the seated users to their room's leaderboard. An existing score stays.
pub(super) async fn enrol(
    transaction: &DatabaseTransaction,
    entries: &[Entry<'_>],
    now: HubTime,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(PARTICIPANT);
    for entry in entries {
        if let Some((room, _)) = entry.seat {
            let user = entry.user.id().as_str().into();
            rows.push([room.0.into(), user, now.0.into()]);
        }
    }
    rows.execute(
        transaction,
        "INSERT INTO event_participants (room_id, user_id, score, created_at) \
         SELECT room_id, user_id, 0, at FROM v WHERE true ON CONFLICT DO NOTHING",
    )
    .await?;
    Ok(())
}

/// The seat counts of those users in a group who take one more.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// 0: no limit, so nothing is counted.
    most: usize,
    held: HashMap<UserId, usize>,
    /// The entries that were admitted, each with its user.
    taken: Vec<(usize, UserId)>,
    /// The entries that were refused, each with its user.
    crowded: Vec<(usize, UserId)>,
}

impl Counts {
    /// Counts the seats of users who are about to take one, and keeps other lanes from adding one until the commit. A
    /// guest created by its own entry has none.
    pub(super) async fn load(
        transaction: &DatabaseTransaction,
        entries: &[Entry<'_>],
        most: usize,
    ) -> Result<Counts, DbErr> {
        let mut counts = Counts {
            most,
            ..Counts::default()
        };
        let seated = entries.iter().filter(|entry| entry.seat.is_some());
        let asked: HashSet<&UserId> = seated
            .filter_map(|entry| match entry.user {
                UserWrite::Known(id) | UserWrite::Account { id, .. } => Some(id),
                UserWrite::Guest { .. } => None,
            })
            .collect();
        if most == 0 || asked.is_empty() {
            return Ok(counts);
        }
        let mut rows = Rows::new(ID);
        for id in asked {
            rows.push([id.as_str().into()]);
        }
        keep_others_out(transaction, rows.clone()).await?;
        let sql = "SELECT s.user_id, COUNT(*) FROM v JOIN room_seats s ON s.user_id = v.id \
                   GROUP BY s.user_id";
        for row in rows.query(transaction, sql).await? {
            let held: i64 = row.try_get_by_index(1)?;
            let id = UserId::from_stored(row.try_get_by_index(0)?);
            counts.held.insert(id, usize::try_from(held).unwrap_or(0));
        }
        Ok(counts)
    }

    /// Admits, in order of arrival, the entries whose users hold fewer seats than they may.
    pub(super) fn admit(&mut self, entries: &mut Vec<Entry<'_>>, outcomes: &mut Outcomes) {
        let most = self.most;
        if most == 0 {
            return;
        }
        entries.retain(|entry| {
            if entry.seat.is_none() {
                return true;
            }
            let id = entry.user.id();
            let held = self.held.entry(id.clone()).or_default();
            if *held >= most {
                self.crowded.push((entry.index, id.clone()));
                outcomes.refuse(entry.index, Refused::TooManySeats { most });
                return false;
            }
            *held += 1;
            self.taken.push((entry.index, id.clone()));
            true
        });
    }

    /// Gives back the seats of entries that were dropped since. Entries refused for lack of such a seat are retried.
    pub(super) fn reconsider(&self, entries: &[Entry<'_>], outcomes: &mut Outcomes) {
        if self.crowded.is_empty() {
            return;
        }
        let left: HashSet<usize> = entries.iter().map(|entry| entry.index).collect();
        let lost = self.taken.iter().filter(|(index, _)| !left.contains(index));
        let given_back: HashSet<&UserId> = lost.map(|(_, id)| id).collect();
        for (index, _) in self
            .crowded
            .iter()
            .filter(|(_, id)| given_back.contains(id))
        {
            outcomes.again(*index);
        }
    }
}

/// Keeps the other lanes from giving users seats. The users are counted in a later statement, which sees everything
/// committed before it began.
pub(super) async fn keep_others_out(
    transaction: &DatabaseTransaction,
    users: Rows,
) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        // In the same order in each lane and before any row is locked, so that no two lanes deadlock.
        let sql = format!(
            "SELECT pg_advisory_xact_lock({LOCK_CLASS}, key) FROM \
             (SELECT DISTINCT hashtext(id) AS key FROM v ORDER BY key) AS keys"
        );
        users.query(transaction, &sql).await?;
    }
    Ok(())
}

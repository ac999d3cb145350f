//! How many seats users hold, over all their sessions.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::Outcomes;
use super::entry::Entry;
use crate::id::UserId;
use crate::persistence::rows::{Columns, Rows, Type};
use crate::persistence::{Refused, UserWrite};

pub(super) const ID: Columns = &[("id", Type::Text)];

/// Apart from all other advisory locks of the hub: "seat".
const LOCK_CLASS: i32 = 0x7365_6174;

/// The seats of the users of a group who take one more.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// 0: nothing is counted.
    most: usize,
    held: HashMap<UserId, usize>,
    /// Entries that were admitted, and who takes a seat with each.
    taken: Vec<(usize, UserId)>,
    /// Entries that were refused.
    crowded: Vec<(usize, UserId)>,
}

impl Counts {
    /// Counts what is held by the users who are about to take a seat, and keeps the other lanes from giving them
    /// one meanwhile. Guests that their own entry makes hold nothing.
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

    /// Lets in, in order of arrival, the entries whose users hold fewer seats than they may.
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

    /// Takes seats back from entries that dropped out. Who was refused for such a seat is tried again.
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

/// Keeps the other lanes from giving users seats. Their count follows in a statement of its own, which sees what was
/// committed before it began.
pub(super) async fn keep_others_out(
    transaction: &DatabaseTransaction,
    users: Rows,
) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        // In one order in each lane, and before any row is locked.
        let sql = format!(
            "SELECT pg_advisory_xact_lock({LOCK_CLASS}, key) FROM \
             (SELECT DISTINCT hashtext(id) AS key FROM v ORDER BY key) AS keys"
        );
        users.query(transaction, &sql).await?;
    }
    Ok(())
}

//! Users: permission to act, charges and names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::Outcomes;
use super::player_command::Entry;
use crate::clock::HubTime;
use crate::id::{NAME_CHARS_MAX, UserId};
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::{Committed, Refused, UserWrite};

const ID: Columns = &[("id", Type::Text)];

const NEW: Columns = &[
    ("id", Type::Text),
    ("name", Type::Text),
    ("is_guest", Type::Bool),
    ("at", Type::Int),
];

const NAME: Columns = &[("id", Type::Text), ("name", Type::Text)];

/// Locks users for a change, on PostgreSQL, in the same order in each lane.
const IN_ORDER: &str = " ORDER BY u.id FOR NO KEY UPDATE OF u";

const CHARGE: Columns = &[("id", Type::Text), ("sum", Type::Int)];

/// An account as stored, and its charges in this group.
#[derive(Debug)]
struct Account {
    name: Arc<str>,
    credits: i64,
    is_active: bool,
    /// The sum of the credits charged by admitted entries.
    charged: i64,
}

/// The users that the group's entries refer to.
#[derive(Debug, Default)]
pub(super) struct Users {
    stored: HashMap<UserId, Account>,
    /// The admitted entries that cost something, and their costs.
    charges: Vec<(usize, UserId, i64)>,
    /// The entries that were refused for lack of credits.
    poor: Vec<(usize, UserId)>,
}

impl Users {
    /// Reads the users that are not created by their entry, and keeps others from changing them.
    pub(super) async fn load(
        transaction: &DatabaseTransaction,
        entries: &[Entry<'_>],
    ) -> Result<Users, DbErr> {
        let asked: HashSet<&UserId> = entries
            .iter()
            .filter_map(|entry| match entry.user {
                UserWrite::Known(id) | UserWrite::Account { id, .. } => Some(id),
                UserWrite::Guest { .. } => None,
            })
            .collect();
        let mut users = Users::default();
        if asked.is_empty() {
            return Ok(users);
        }
        let mut rows = Rows::new(ID);
        for id in asked {
            rows.push([id.as_str().into()]);
        }
        let lock = if transaction.get_database_backend() != DbBackend::Postgres {
            ""
        } else if entries.iter().any(|entry| entry.cost > 0) {
            IN_ORDER
        } else {
            " FOR KEY SHARE OF u"
        };
        let sql = format!(
            "SELECT u.id, u.name, u.is_active, u.credits FROM v JOIN users u ON u.id = v.id{lock}"
        );
        for row in rows.query(transaction, &sql).await? {
            let account = Account {
                name: row.try_get_by_index::<String>(1)?.into(),
                credits: row.try_get_by_index(3)?,
                is_active: row.try_get_by_index(2)?,
                charged: 0,
            };
            let id = UserId::from_stored(row.try_get_by_index(0)?);
            users.stored.insert(id, account);
        }
        Ok(users)
    }

    /// Admits, in order of arrival, the entries whose users are active and can pay.
    pub(super) fn admit(&mut self, entries: &mut Vec<Entry<'_>>, outcomes: &mut Outcomes) {
        entries.retain(|entry| match self.check(entry) {
            Ok(()) => true,
            Err(refused) => {
                outcomes.refuse(entry.index, refused);
                false
            }
        });
    }

    fn check(&mut self, entry: &Entry<'_>) -> Result<(), Refused> {
        let id = entry.user.id();
        let (is_made, account) = match entry.user {
            UserWrite::Guest { .. } => (true, None),
            UserWrite::Account { .. } => (true, self.stored.get_mut(id)),
            UserWrite::Known(_) => (false, self.stored.get_mut(id)),
        };
        let Some(account) = account else {
            return match (is_made, entry.cost) {
                (false, _) => Err(Refused::InvalidUser),
                (true, 0) => Ok(()),
                (true, needed) => Err(Refused::InsufficientCredits { needed, has: 0 }),
            };
        };
        if !account.is_active {
            return Err(Refused::InvalidUser);
        }
        if entry.cost == 0 {
            return Ok(());
        }
        let has = account.credits - account.charged;
        if entry.cost > has {
            self.poor.push((entry.index, id.clone()));
            return Err(Refused::InsufficientCredits {
                needed: entry.cost,
                has,
            });
        }
        account.charged += entry.cost;
        self.charges.push((entry.index, id.clone(), entry.cost));
        Ok(())
    }

    /// Takes back the charges of entries that were dropped. Entries refused for lack of such credits are retried.
    pub(super) fn reconsider(&mut self, entries: &[Entry<'_>], outcomes: &mut Outcomes) {
        let left: HashSet<usize> = entries.iter().map(|entry| entry.index).collect();
        let mut refunded: HashSet<UserId> = HashSet::new();
        for (index, id, cost) in &self.charges {
            if !left.contains(index)
                && let Some(account) = self.stored.get_mut(id)
            {
                account.charged -= cost;
                refunded.insert(id.clone());
            }
        }
        for (index, _) in self.poor.iter().filter(|(_, id)| refunded.contains(id)) {
            outcomes.again(*index);
        }
    }

    /// Creates, renames and charges the users of the remaining entries, and answers these.
    pub(super) async fn write(
        self,
        transaction: &DatabaseTransaction,
        entries: &[Entry<'_>],
        now: HubTime,
        outcomes: &mut Outcomes,
    ) -> Result<(), DbErr> {
        let mut guests = Rows::new(NEW);
        // In the same order in each lane, or two lanes that create or rename the same users would wait for each
        // other.
        let mut names: BTreeMap<&UserId, Arc<str>> = BTreeMap::new();
        for entry in entries {
            let id = entry.user.id();
            let name = match entry.user {
                UserWrite::Guest { name, .. } => {
                    let row = [
                        id.as_str().into(),
                        (&**name).into(),
                        true.into(),
                        now.0.into(),
                    ];
                    guests.push(row);
                    name.clone()
                }
                UserWrite::Known(_) | UserWrite::Account { name: None, .. } => {
                    match (names.get(id), self.stored.get(id)) {
                        (Some(name), _) => name.clone(),
                        (None, Some(account)) => account.name.clone(),
                        (None, None) => {
                            let name = name_of(id);
                            names.insert(id, name.clone());
                            name
                        }
                    }
                }
                UserWrite::Account {
                    name: Some(name), ..
                } => {
                    names.insert(id, name.clone());
                    name.clone()
                }
            };
            let user = id.clone();
            outcomes.commit(entry.index, Committed::Player { user, name });
        }
        // A guest's id is new. If it is not, the group fails and is split until the culprit is alone.
        guests
            .execute(
                transaction,
                "INSERT INTO users (id, name, is_guest, is_active, credits, created_at) \
                 SELECT id, name, is_guest, true, 0, at FROM v",
            )
            .await?;
        self.write_accounts(transaction, names, now).await?;
        self.charge(transaction).await
    }

    async fn write_accounts(
        &self,
        transaction: &DatabaseTransaction,
        names: BTreeMap<&UserId, Arc<str>>,
        now: HubTime,
    ) -> Result<(), DbErr> {
        let mut new = Rows::new(NEW);
        let mut renamed = Rows::new(NAME);
        for (id, name) in names {
            match self.stored.get(id) {
                None => new.push([
                    id.as_str().into(),
                    (&*name).into(),
                    false.into(),
                    now.0.into(),
                ]),
                Some(account) if account.name != name => {
                    renamed.push([id.as_str().into(), (&*name).into()]);
                }
                Some(_) => {}
            }
        }
        // The game may have created the same user in this very moment.
        new.execute(
            transaction,
            "INSERT INTO users (id, name, is_guest, is_active, credits, created_at) \
             SELECT id, name, is_guest, true, 0, at FROM v WHERE true ON CONFLICT DO NOTHING",
        )
        .await?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            let sql = format!("SELECT u.id FROM v JOIN users u ON u.id = v.id{IN_ORDER}");
            renamed.clone().query(transaction, &sql).await?;
        }
        renamed
            .execute(
                transaction,
                "UPDATE users SET name = v.name FROM v WHERE users.id = v.id",
            )
            .await?;
        Ok(())
    }

    async fn charge(&self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        let mut rows = Rows::new(CHARGE);
        for (id, account) in &self.stored {
            if account.charged > 0 {
                rows.push([id.as_str().into(), account.charged.into()]);
            }
        }
        rows.execute(
            transaction,
            "UPDATE users SET credits = users.credits - v.sum FROM v WHERE users.id = v.id",
        )
        .await?;
        Ok(())
    }
}

/// Returns the name of a user that the game did not name: the start of its id.
fn name_of(id: &UserId) -> Arc<str> {
    id.as_str()
        .chars()
        .take(NAME_CHARS_MAX)
        .collect::<String>()
        .into()
}

//! Idempotency: answers replayed commands first, stores new responses last.

use std::collections::HashMap;

use sea_orm::{DatabaseTransaction, DbErr};

use super::Outcomes;
use crate::clock::HubTime;
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::item::Item;
use crate::persistence::once::{IdempotencyRecord, KEPT_MAX};
use crate::persistence::{Command, Committed, MaintenanceCommand};

const KEY: Columns = &[("scope", Type::Text), ("key", Type::Text)];

const KEPT: Columns = &[
    ("scope", Type::Text),
    ("key", Type::Text),
    ("content_hash", Type::Bytes),
    ("answer", Type::Text),
    ("at", Type::Int),
];

/// Answers the commands whose idempotency keys were used before.
pub(super) async fn recall(
    transaction: &DatabaseTransaction,
    items: &[Item],
    outcomes: &mut Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(KEY);
    for (_, once) in keyed(items) {
        rows.push([once.scope().into(), once.key.to_string().into()]);
    }
    let found = rows
        .query(
            transaction,
            "SELECT c.scope, c.key, c.content_hash, c.answer \
             FROM v JOIN commands c ON c.scope = v.scope AND c.key = v.key",
        )
        .await?;
    let mut used: HashMap<(String, String), (Vec<u8>, String)> = HashMap::new();
    for row in found {
        used.insert(
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?),
            (row.try_get_by_index(2)?, row.try_get_by_index(3)?),
        );
    }
    for (index, once) in keyed(items) {
        if let Some((content, answer)) = used.get(&(once.scope(), once.key.to_string())) {
            outcomes.refuse(index, once.refusal(content, answer)?);
        } else if matches!(
            items[index].command,
            Command::Maintenance(MaintenanceCommand::Nothing)
        ) {
            outcomes.commit(index, Committed::Done);
        }
    }
    Ok(())
}

/// Stores the responses of the commands that were carried out. A refused command may be retried under its key.
pub(super) async fn keep(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    outcomes: &Outcomes,
) -> Result<(), DbErr> {
    let mut rows = Rows::new(KEPT);
    let mut scopes = Rows::new(&[("scope", Type::Text)]);
    for (index, once) in keyed(items) {
        let Some(committed) = outcomes.committed(index) else {
            continue;
        };
        if let Some(answer) = once.stored(committed.name().cloned())? {
            rows.push([
                once.scope().into(),
                once.key.to_string().into(),
                once.content.to_vec().into(),
                answer.into(),
                now.0.into(),
            ]);
            if once.is_counted() {
                scopes.push([once.scope().into()]);
            }
        }
    }
    // If the key was used in the meantime, the group fails, and its next attempt finds that row.
    rows.execute(
        transaction,
        "INSERT INTO commands (scope, key, content_hash, answer, created_at) \
         SELECT scope, key, content_hash, answer, at FROM v",
    )
    .await?;
    let sql = format!(
        "DELETE FROM commands WHERE (scope, key) IN (SELECT scope, key FROM \
         (SELECT c.scope, c.key, ROW_NUMBER() OVER \
         (PARTITION BY c.scope ORDER BY c.created_at DESC) AS age \
         FROM commands c WHERE c.scope IN (SELECT scope FROM v)) AS aged WHERE age > {KEPT_MAX})"
    );
    scopes.execute(transaction, &sql).await?;
    Ok(())
}

fn keyed(items: &[Item]) -> impl Iterator<Item = (usize, &IdempotencyRecord)> {
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| Some((index, item.once.as_deref()?)))
}

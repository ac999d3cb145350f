//! Checks whether users are active. Players who come back at the same time share a query, so that a returning crowd
//! takes one connection and not the pool.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::read;
use crate::id::UserId;
use crate::persistence::{Persistence, ReadError};

/// Users in one query. Any more wait for the next one, a few milliseconds later.
const USERS_MAX: usize = 1024;

/// The checks that wait for an answer: at most one for each request in flight.
#[derive(Debug, Default)]
pub(crate) struct ActiveUsers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    asked: Vec<(UserId, oneshot::Sender<bool>)>,
    is_asking: bool,
}

impl ActiveUsers {
    /// Adds a check. Returns true if the caller must start the task that runs the queries.
    fn add(&self, user: UserId, reply: oneshot::Sender<bool>) -> bool {
        let mut waiting = self.0.lock();
        waiting.asked.push((user, reply));
        !std::mem::replace(&mut waiting.is_asking, true)
    }

    /// Takes the checks for the next query. An empty result ends the task.
    fn next(&self) -> Vec<(UserId, oneshot::Sender<bool>)> {
        let mut waiting = self.0.lock();
        let count = waiting.asked.len().min(USERS_MAX);
        waiting.is_asking = count > 0;
        waiting.asked.drain(..count).collect()
    }
}

impl Persistence {
    /// Returns whether a user exists and is active.
    pub async fn is_active(&self, user: &UserId) -> Result<bool, ReadError> {
        let (reply, answer) = oneshot::channel();
        if self.active_users().add(user.clone(), reply) {
            let persistence = self.clone();
            tokio::spawn(async move { persistence.ask_active().await });
        }
        answer.await.map_err(|_| ReadError::Unavailable)
    }

    async fn ask_active(&self) {
        loop {
            let asked = self.active_users().next();
            if asked.is_empty() {
                return;
            }
            let ids: HashSet<String> = asked
                .iter()
                .map(|(user, _)| user.as_str().to_owned())
                .collect();
            let readers = self.readers();
            let found = self
                .read(async move { read::active_users(&readers, ids).await })
                .await;
            // Without an answer the replies are dropped, which reports the failure.
            let Ok(active) = found else {
                continue;
            };
            for (user, reply) in asked {
                // The caller may have stopped waiting.
                let _ = reply.send(active.contains(user.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_for_all_who_come_meanwhile() {
        let users = ActiveUsers::default();
        let add = || users.add(UserId::guest(), oneshot::channel().0);

        assert!(add());
        assert!(!add());
        assert_eq!(users.next().len(), 2);
        assert!(!add());
        assert_eq!(users.next().len(), 1);
        assert_eq!(users.next().len(), 0);
        assert!(add());
    }

    #[test]
    fn a_question_has_a_limit() {
        let users = ActiveUsers::default();
        for _ in 0..=USERS_MAX {
            users.add(UserId::guest(), oneshot::channel().0);
        }

        assert_eq!(users.next().len(), USERS_MAX);
        assert_eq!(users.next().len(), 1);
    }
}

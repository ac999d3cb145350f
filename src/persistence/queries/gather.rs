//! Batched lookups of single rows: when everybody comes back, one query answers all callers that arrived during the
//! previous one. It is a group commit for reads: a lone caller waits for nobody.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::persistence::ReadError;

/// Concurrent queries for one kind of row: they share the read connections with all other reads.
const QUERIES_MAX: usize = 2;

/// Rows that one query looks up.
const KEYS_MAX: usize = 256;

type Found<T> = Result<Option<T>, ReadError>;

/// The lookups of one kind of row. No more wait than there are callers, whose number is bounded.
pub(crate) struct Gather<K, T> {
    waiting: Mutex<Waiting<K, T>>,
}

struct Waiting<K, T> {
    questions: Vec<(K, oneshot::Sender<Found<T>>)>,
    queries: usize,
}

impl<K, T> Default for Gather<K, T> {
    fn default() -> Gather<K, T> {
        Gather {
            waiting: Mutex::new(Waiting {
                questions: Vec::new(),
                queries: 0,
            }),
        }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, T: Clone + Send + 'static> Gather<K, T> {
    /// Looks up one row, with a query that begins after this call. `read` finds the rows of many keys.
    pub(crate) async fn ask<F>(
        self: &Arc<Self>,
        key: K,
        read: impl Fn(Vec<K>) -> F + Send + 'static,
    ) -> Found<T>
    where
        F: Future<Output = Result<HashMap<K, T>, ReadError>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let is_to_begin = {
            let mut waiting = self.waiting.lock();
            waiting.questions.push((key, tell));
            let is_to_begin = waiting.queries < QUERIES_MAX;
            waiting.queries += usize::from(is_to_begin);
            is_to_begin
        };
        if is_to_begin {
            // In its own task, because the first caller may give up.
            let gather = Arc::clone(self);
            tokio::spawn(async move {
                while let Some(questions) = gather.take() {
                    let keys: Vec<K> = questions.iter().map(|(key, _)| *key).collect();
                    let is_shared = keys.len() > 1;
                    let found = read(keys).await;
                    for (key, tell) in questions {
                        let row = match &found {
                            Ok(rows) => Ok(rows.get(&key).cloned()),
                            // One row that cannot be read fails the query for all: ask for each alone.
                            Err(ReadError::Failed) if is_shared => {
                                let alone = read(vec![key]).await;
                                alone.map(|mut rows| rows.remove(&key))
                            }
                            Err(error) => Err(*error),
                        };
                        // The caller may have given up.
                        let _ = tell.send(row);
                    }
                }
            });
        }
        told.await.unwrap_or(Err(ReadError::Unavailable))
    }

    /// Takes the lookups for the next query. None ends the task.
    fn take(&self) -> Option<Vec<(K, oneshot::Sender<Found<T>>)>> {
        let mut waiting = self.waiting.lock();
        if waiting.questions.is_empty() {
            waiting.queries -= 1;
            return None;
        }
        let count = waiting.questions.len().min(KEYS_MAX);
        Some(waiting.questions.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_while_a_query_is_under_way_shares_the_next_one() {
        let gather: Arc<Gather<u32, u32>> = Arc::default();
        let (queries, gate) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(Semaphore::new(0)),
        );
        let ask = |key| {
            let (queries, gate) = (Arc::clone(&queries), Arc::clone(&gate));
            gather.ask(key, move |keys: Vec<u32>| {
                let (queries, gate) = (Arc::clone(&queries), Arc::clone(&gate));
                async move {
                    queries.lock().push(keys.len());
                    gate.acquire().await.unwrap().forget();
                    let odd = keys.into_iter().filter(|key| key % 2 == 1);
                    Ok(odd.map(|key| (key, key * 10)).collect())
                }
            })
        };

        let asking = join_all((0..100).map(ask));
        let (found, ()) = tokio::join!(asking, async { gate.add_permits(100) });

        assert_eq!(found[7], Ok(Some(70)));
        assert_eq!(found[8], Ok(None));
        let queries = queries.lock();
        assert!(queries.len() <= 4, "{queries:?}");
        assert_eq!(queries.iter().sum::<usize>(), 100);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_fails_for_its_own_callers_only() {
        let gather: Arc<Gather<u32, u32>> = Arc::default();
        let ask = |key| {
            gather.ask(key, |keys: Vec<u32>| async move {
                tokio::task::yield_now().await;
                match keys.contains(&7) {
                    true => Err(ReadError::Failed),
                    false => Ok(keys.into_iter().map(|key| (key, key * 10)).collect()),
                }
            })
        };

        let found = join_all((0..100).map(ask)).await;

        let read = |key| match key {
            7 => Err(ReadError::Failed),
            key => Ok(Some(key * 10)),
        };
        assert_eq!(found, (0..100).map(read).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_query_has_a_limited_number_of_keys_however_many_ask() {
        let gather: Arc<Gather<u32, u32>> = Arc::default();
        let queries = Arc::new(Mutex::new(Vec::new()));
        let ask = |key| {
            let queries = Arc::clone(&queries);
            gather.ask(key, move |keys: Vec<u32>| {
                queries.lock().push(keys.len());
                async move { Ok(keys.into_iter().map(|key| (key, key)).collect()) }
            })
        };

        let found = join_all((0..2_000).map(ask)).await;

        assert!(found.into_iter().all(|found| found.unwrap().is_some()));
        let queries = queries.lock();
        assert_eq!(queries.iter().sum::<usize>(), 2_000);
        assert!(
            queries.iter().all(|count| *count <= KEYS_MAX),
            "{queries:?}"
        );
    }
}

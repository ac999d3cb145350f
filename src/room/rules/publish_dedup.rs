//! Deduplication of publications by idempotency key.
//!
//! A room keeps the keys of the last few minutes with the outcomes of their publications. Two requests with the same
//! key publish once, also at the same time, and both receive the same position. In a durable stream the key is stored
//! with the publication as well, so that it survives the room and the process.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::publish_queue::{PublishReply, StreamPosition};
use crate::clock::HubTime;
use crate::id::{KeyHash, RoomId};
use crate::persistence::{IdempotencyRecord, Scope};
use crate::wire::Failure;

/// How long a key is kept, as in the protocol.
pub(in crate::room) const KNOWN_FOR: Duration = Duration::from_mins(5);

/// The most keys of one room: more than three a second for all of that time. Beyond it the oldest are forgotten.
const KEYS_MAX: usize = 1_024;

/// The outcome of the publication with a key.
#[derive(Debug)]
enum Outcome {
    /// Not known yet: these wait for it. They are requests in flight, which the listener limits.
    Pending(Vec<PublishReply>),
    Placed(StreamPosition),
    /// The next publication with the key counts as the first.
    Refused,
}

/// Returns the record that is stored with a publication that has a key.
pub(in crate::room) fn stored(
    room: RoomId,
    key: &str,
    placed: &StreamPosition,
) -> Arc<IdempotencyRecord> {
    let answer = serde_json::to_string(placed).expect("a place has text keys only");
    Arc::new(IdempotencyRecord {
        scope: Scope::Room(room),
        key: KeyHash::of(key),
        // As in memory, a key stands for one publication regardless of its content.
        content: [0; 32],
        answer: Some(answer.into()),
    })
}

/// The recent keys of a room's publications.
#[derive(Default)]
pub(in crate::room) struct RecentKeys {
    outcomes: HashMap<Arc<str>, Outcome>,
    /// In the order in which they came.
    ages: VecDeque<(HubTime, Arc<str>)>,
}

impl RecentKeys {
    /// Takes a publication with a key. Returns the reply if it is the first with the key, which is then to be carried
    /// out; a repeat receives the outcome of the first. A refused publication does not count as the first.
    pub(in crate::room) fn take(
        &mut self,
        key: Arc<str>,
        reply: PublishReply,
        now: HubTime,
    ) -> Option<PublishReply> {
        self.forget(now);
        match self.outcomes.get_mut(&key) {
            Some(Outcome::Pending(waiting)) => waiting.push(reply),
            Some(Outcome::Placed(position)) => reply.settle(Ok(position.clone())),
            Some(outcome @ Outcome::Refused) => {
                *outcome = Outcome::Pending(Vec::new());
                return Some(reply);
            }
            None => {
                self.ages.push_back((now, Arc::clone(&key)));
                self.outcomes.insert(key, Outcome::Pending(Vec::new()));
                return Some(reply);
            }
        }
        None
    }

    /// Keeps the outcome of the first publication with a key. Returns those that wait for it.
    pub(in crate::room) fn settle(
        &mut self,
        key: &str,
        result: &Result<StreamPosition, Failure>,
    ) -> Vec<PublishReply> {
        let Some(outcome) = self.outcomes.get_mut(key) else {
            return Vec::new();
        };
        let known = match result {
            Ok(position) => Outcome::Placed(position.clone()),
            Err(_) => Outcome::Refused,
        };
        match std::mem::replace(outcome, known) {
            Outcome::Pending(waiting) => waiting,
            Outcome::Placed(_) | Outcome::Refused => Vec::new(),
        }
    }

    fn forget(&mut self, now: HubTime) {
        while let Some((at, _)) = self.ages.front()
            && (now.since(*at) > KNOWN_FOR || self.ages.len() >= KEYS_MAX)
            && let Some((_, key)) = self.ages.pop_front()
        {
            self.outcomes.remove(&key);
        }
    }
}

impl fmt::Debug for RecentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecentKeys({})", self.ages.len())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::room::rules::publish_queue::Publisher;
    use crate::wire::ErrorCode;

    const NOW: HubTime = HubTime(1_000_000);

    type Answer = oneshot::Receiver<Result<StreamPosition, Failure>>;

    fn ask(repeats: &mut RecentKeys, key: &str, now: HubTime) -> (Option<PublishReply>, Answer) {
        let (port, answer) = oneshot::channel();
        let reply = PublishReply::new(Publisher::Caller(port.into()));
        (repeats.take(key.into(), reply, now), answer)
    }

    /// Settles the first publication with a key, and all that wait for it.
    fn settle(
        repeats: &mut RecentKeys,
        key: &str,
        first: Option<PublishReply>,
        result: Result<StreamPosition, Failure>,
    ) {
        let waiting = repeats.settle(key, &result).into_iter();
        for reply in waiting.chain(first) {
            reply.settle(result.clone());
        }
    }

    fn placed(offset: u64) -> StreamPosition {
        StreamPosition {
            offset,
            epoch: "e".into(),
        }
    }

    #[tokio::test]
    async fn a_repeat_hears_where_the_first_went_before_and_after_it_is_known() {
        let mut repeats = RecentKeys::default();
        let (first, first_answer) = ask(&mut repeats, "k", NOW);
        let (repeat, early) = ask(&mut repeats, "k", NOW);
        assert!(repeat.is_none());

        assert!(first.is_some());
        settle(&mut repeats, "k", first, Ok(placed(7)));

        let (repeat, late) = ask(&mut repeats, "k", NOW.plus(KNOWN_FOR));
        assert!(repeat.is_none());
        for answer in [first_answer, early, late] {
            assert_eq!(answer.await.unwrap(), Ok(placed(7)));
        }
        assert!(ask(&mut repeats, "other", NOW).0.is_some());
    }

    #[tokio::test]
    async fn what_was_refused_may_be_tried_again() {
        let mut repeats = RecentKeys::default();
        let (first, answer) = ask(&mut repeats, "k", NOW);
        let (_, repeated) = ask(&mut repeats, "k", NOW);
        let denied = || Err(ErrorCode::PermissionDenied.into());
        settle(&mut repeats, "k", first, denied());
        for answer in [answer, repeated] {
            assert_eq!(answer.await.unwrap(), denied());
        }

        let (second, answer) = ask(&mut repeats, "k", NOW);
        assert!(second.is_some());
        settle(&mut repeats, "k", second, Ok(placed(7)));

        assert_eq!(answer.await.unwrap(), Ok(placed(7)));
        assert_eq!(repeats.ages.len(), 1);
    }

    #[tokio::test]
    async fn keys_are_forgotten_by_age_and_by_number() {
        let mut repeats = RecentKeys::default();
        let (first, _answer) = ask(&mut repeats, "old", NOW);
        settle(&mut repeats, "old", first, Ok(placed(1)));
        let later = HubTime(NOW.plus(KNOWN_FOR).0 + 1);
        assert!(ask(&mut repeats, "old", later).0.is_some());

        for number in 0..2 * KEYS_MAX {
            ask(&mut repeats, &number.to_string(), later);
        }
        assert!(repeats.ages.len() <= KEYS_MAX);
        assert_eq!(repeats.ages.len(), repeats.outcomes.len());
    }
}

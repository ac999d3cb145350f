//! The statements of one group of commands, in one transaction.
//!
//! Their phases replace the order of arrival: coalesced writes, replays, holds, releases, claims, adoptions, streams,
//! the sweep, and last the stored responses. `writer::batching::cut` separates commands for which that would make a
//! difference. A command refused in one phase takes no part in later ones, so nothing of it is stored. For this,
//! contended rows (rooms, seats) are inserted before the rest of their command, and foreign keys are checked at
//! COMMIT.

mod adopt_session;
mod coalesced;
mod expired;
mod holds;
mod idempotency;
pub(crate) mod player_command;
mod releases;
mod seat_tokens;
mod seats;
mod session_events;
mod sessions;
mod streams;
mod users;

use sea_orm::{DatabaseTransaction, DbErr};

use self::player_command::Entry;
use crate::clock::HubTime;
use crate::persistence::item::{Answer, Item};
use crate::persistence::{Committed, EndedSessions, Offsets, Refused, SessionNews, SoftWrite};

/// The only node of a hub that is not a cluster.
pub(crate) const NODE: &str = "main";

/// The outcome of a command, provided that the transaction commits.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Answered(Answer),
    /// Refused for credits or seats that an earlier command did not use in the end: to be retried.
    Again,
}

/// The outcomes of a group so far, in the order of its commands.
#[derive(Debug)]
struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    /// Returns whether the command's outcome is known, so that later phases skip it.
    fn is_settled(&self, index: usize) -> bool {
        self.0[index].is_some()
    }

    fn refuse(&mut self, index: usize, refused: Refused) {
        self.0[index] = Some(Outcome::Answered(Err(refused)));
    }

    fn commit(&mut self, index: usize, committed: Committed) {
        self.0[index] = Some(Outcome::Answered(Ok(committed)));
    }

    /// Returns the answer of a command that is carried out.
    fn committed(&self, index: usize) -> Option<&Committed> {
        match &self.0[index] {
            Some(Outcome::Answered(Ok(committed))) => Some(committed),
            Some(Outcome::Answered(Err(_)) | Outcome::Again) | None => None,
        }
    }

    /// Adds the offsets of a command's events to its answer.
    fn tell(&mut self, index: usize, offsets: Offsets) {
        if let Some(Outcome::Answered(Ok(committed))) = &mut self.0[index] {
            let of = Box::new(committed.clone());
            *committed = Committed::Told { of, offsets };
        }
    }

    /// Adds an event about a changed session to the answer of its command.
    fn tell_of_session(&mut self, index: usize, news: SessionNews) {
        if let Some(Outcome::Answered(Ok(
            Committed::Ended(told)
            | Committed::AllEnded(EndedSessions { told, .. })
            | Committed::Adopted { told, .. },
        ))) = &mut self.0[index]
        {
            told.push(news);
        }
    }

    fn again(&mut self, index: usize) {
        self.0[index] = Some(Outcome::Again);
    }

    fn done_or(&mut self, changed: Refused, index: usize, is_done: bool) {
        if is_done {
            self.commit(index, Committed::Done);
        } else {
            self.refuse(index, changed);
        }
    }
}

/// Applies the coalesced writes of a group, and returns those that are not finished.
pub(super) async fn apply_marks(
    transaction: &DatabaseTransaction,
    marks: &[SoftWrite],
) -> Result<Vec<SoftWrite>, DbErr> {
    coalesced::apply(transaction, marks).await
}

/// Carries out the commands of a group. After an error the transaction must not be committed.
pub(super) async fn apply(
    transaction: &DatabaseTransaction,
    items: &[Item],
    now: HubTime,
    seats_max: usize,
) -> Result<Vec<Outcome>, DbErr> {
    let mut outcomes = Outcomes(vec![None; items.len()]);
    idempotency::recall(transaction, items, &mut outcomes).await?;
    // Before the releases: a hold that was extended has not expired.
    holds::apply(transaction, items, now, &mut outcomes).await?;
    let mut told = releases::apply(transaction, items, now, &mut outcomes).await?;
    seat_tokens::end(transaction, items, &mut outcomes).await?;

    let mut entries: Vec<Entry<'_>> = player_command::of(items);
    entries.retain(|entry| !outcomes.is_settled(entry.index));
    if !entries.is_empty() {
        let mut counts = seats::Counts::load(transaction, &entries, seats_max).await?;
        let mut users = users::Users::load(transaction, &entries).await?;
        users.admit(&mut entries, &mut outcomes);
        sessions::refuse_ended(transaction, &mut entries, &mut outcomes).await?;
        counts.admit(&mut entries, &mut outcomes);
        seats::open_rooms(transaction, &mut entries, now, &mut outcomes).await?;
        seats::claim(transaction, &mut entries, now, &mut outcomes).await?;
        seat_tokens::confirm(transaction, &mut entries, now, &mut outcomes).await?;
        users.reconsider(&entries, &mut outcomes);
        counts.reconsider(&entries, &mut outcomes);
        users
            .write(transaction, &entries, now, &mut outcomes)
            .await?;
        sessions::open(transaction, &entries, now).await?;
        seats::enrol(transaction, &entries, now).await?;
    }
    told.extend(adopt_session::apply(transaction, items, now, seats_max, &mut outcomes).await?);
    sessions::add_tokens(transaction, items, now, &mut outcomes).await?;
    streams::apply(transaction, items, told, &mut outcomes).await?;
    expired::apply(transaction, items, &mut outcomes).await?;
    idempotency::keep(transaction, items, now, &outcomes).await?;

    // Every command belongs to one phase. One without an outcome would be a bug, and is answered as one.
    Ok(outcomes
        .0
        .into_iter()
        .map(|outcome| outcome.unwrap_or(Outcome::Answered(Err(Refused::Internal))))
        .collect())
}

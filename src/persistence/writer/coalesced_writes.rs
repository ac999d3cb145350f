//! Coalesced writes: the newest value per key waits until a group takes it along. They may be lost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::id::{RoomId, SessionId};
use crate::persistence::{Command, SeatCommand, SessionCommand, SoftWrite};

/// The longest that a coalesced write waits for a group; then it is committed alone.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// The same for a player who is back. If a crash loses this write, the player has only the rest of the previous hold.
/// So it is committed almost at once, just late enough to take along those that come at the same time.
const BACK_ALONE_AFTER: Duration = Duration::from_millis(20);

/// Keys that may wait at one time: two for each of the 100,000 connections that a hub takes by default, and some
/// more. Beyond it the writes of further keys are dropped.
const KEYS_MAX: usize = 262_144;

/// Coalesced writes in one group, so that a storm of them does not delay the commands of the group.
const PER_GROUP_MAX: usize = 4096;

/// The subject of a coalesced write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Seat(RoomId, u16),
    Session(SessionId),
    History(RoomId),
    Heartbeat,
}

/// The coalesced writes that wait.
#[derive(Debug, Default)]
pub(crate) struct CoalescedWrites {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    marks: HashMap<Key, SoftWrite>,
    /// When they are committed alone. None while there are none.
    due: Option<Instant>,
    /// The same, counting only those that arrived after the last were taken.
    arrived_due: Option<Instant>,
}

impl CoalescedWrites {
    /// Queues a coalesced write in place of an older one with the same key.
    pub(crate) fn leave(&self, mark: SoftWrite) {
        let mut waiting = self.waiting.lock();
        let key = key(&mark);
        if waiting.marks.len() >= KEYS_MAX && !waiting.marks.contains_key(&key) {
            metrics::counter!("holdfast_soft_writes_dropped_total").increment(1);
            return;
        }
        let due = Instant::now() + patience(&mark);
        waiting.marks.insert(key, mark);
        waiting.arrived_due = earlier(waiting.arrived_due, due);
        if waiting.due.is_none_or(|earlier| due < earlier) {
            waiting.due = Some(due);
            self.arrived.notify_one();
        }
    }

    /// Returns whether any coalesced write waits.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.waiting.lock().marks.is_empty()
    }

    /// Returns when coalesced writes have waited long enough for a group.
    pub(crate) async fn due(&self) {
        loop {
            let due = self.waiting.lock().due;
            match due {
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => return,
                    // A new write is due earlier.
                    () = self.arrived.notified() => {}
                },
                None => self.arrived.notified().await,
            }
        }
    }

    /// Takes coalesced writes for one group. Those that its commands depend on come first, however many wait: a
    /// release finds nothing if its seat is not stored as away.
    pub(crate) fn take<'a>(&self, commands: impl Iterator<Item = &'a Command>) -> Vec<SoftWrite> {
        let mut waiting = self.waiting.lock();
        waiting.arrived_due = None;
        if waiting.marks.len() <= PER_GROUP_MAX {
            waiting.due = None;
            return waiting.marks.drain().map(|(_, mark)| mark).collect();
        }
        let named = commands.filter_map(needed);
        let mut taken: Vec<SoftWrite> =
            named.filter_map(|key| waiting.marks.remove(&key)).collect();
        let rest = PER_GROUP_MAX.saturating_sub(taken.len());
        let keys: Vec<Key> = waiting.marks.keys().take(rest).copied().collect();
        taken.extend(keys.iter().filter_map(|key| waiting.marks.remove(key)));
        taken
    }

    /// Puts back coalesced writes that did not reach the database, to be retried a second later. One that arrived in
    /// the meantime is newer, and keeps its own time.
    pub(crate) fn restore(&self, marks: Vec<SoftWrite>) {
        if marks.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        for mark in marks {
            if let Entry::Vacant(place) = waiting.marks.entry(key(&mark)) {
                place.insert(mark);
            }
        }
        waiting.due = earlier(waiting.arrived_due, Instant::now() + ALONE_AFTER);
    }
}

fn earlier(due: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(due.map_or(other, |due| due.min(other)))
}

fn patience(mark: &SoftWrite) -> Duration {
    match mark {
        SoftWrite::SeatBack { .. } => BACK_ALONE_AFTER,
        SoftWrite::SeatAway { .. }
        | SoftWrite::SessionSeen { .. }
        | SoftWrite::PruneHistory { .. }
        | SoftWrite::Heartbeat { .. } => ALONE_AFTER,
    }
}

/// Returns the key of the coalesced write that a command depends on: that of its seat, or of a session in use.
fn needed(command: &Command) -> Option<Key> {
    match command {
        Command::Seat(SeatCommand::Release(release)) => Some(Key::Seat(release.room, release.seat)),
        Command::Seat(SeatCommand::Hold(hold)) => Some(Key::Seat(hold.room, hold.seat)),
        Command::Seat(SeatCommand::TakeOver(confirm)) => {
            Some(Key::Seat(confirm.room, confirm.seat))
        }
        Command::Seat(SeatCommand::Claim(claim)) => Some(Key::Seat(claim.room, claim.seat.number)),
        Command::Session(SessionCommand::AddToken(add)) => Some(Key::Session(add.session)),
        Command::Seat(SeatCommand::EndTokens(_))
        | Command::Session(
            SessionCommand::Open(_)
            | SessionCommand::Adopt(_)
            | SessionCommand::End(_)
            | SessionCommand::EndAll(_),
        )
        | Command::Room(_)
        | Command::Stream(_)
        | Command::Maintenance(_) => None,
    }
}

fn key(mark: &SoftWrite) -> Key {
    match mark {
        SoftWrite::SeatAway { room, seat, .. } | SoftWrite::SeatBack { room, seat, .. } => {
            Key::Seat(*room, *seat)
        }
        SoftWrite::SessionSeen { session, .. } => Key::Session(*session),
        SoftWrite::PruneHistory { room, .. } => Key::History(*room),
        SoftWrite::Heartbeat { .. } => Key::Heartbeat,
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::clock::HubTime;
    use crate::persistence::ReleaseSeat;

    fn heartbeat(at: i64) -> SoftWrite {
        SoftWrite::Heartbeat { at: HubTime(at) }
    }

    #[test]
    fn the_newest_mark_of_a_key_is_the_one_written() {
        let marks = CoalescedWrites::default();
        marks.leave(heartbeat(1));
        marks.leave(heartbeat(2));

        let taken = marks.take(iter::empty());

        assert!(
            matches!(taken[..], [SoftWrite::Heartbeat { at: HubTime(2) }]),
            "{taken:?}"
        );
    }

    #[test]
    fn a_mark_taken_back_gives_way_to_a_newer_one() {
        let marks = CoalescedWrites::default();
        marks.leave(heartbeat(1));
        let taken = marks.take(iter::empty());
        marks.leave(heartbeat(2));

        marks.restore(taken);

        let taken = marks.take(iter::empty());
        assert!(
            matches!(taken[..], [SoftWrite::Heartbeat { at: HubTime(2) }]),
            "{taken:?}"
        );
        assert!(marks.take(iter::empty()).is_empty());
    }

    fn back() -> SoftWrite {
        SoftWrite::SeatBack {
            room: RoomId::new(),
            seat: 0,
            session: SessionId::new(),
            at: HubTime(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_who_is_back_while_marks_fail_does_not_wait_with_them() {
        let marks = CoalescedWrites::default();
        marks.leave(heartbeat(1));
        let failing = marks.take(iter::empty());
        let arrived = Instant::now();
        marks.leave(back());
        marks.restore(failing);

        marks.due().await;

        assert!(arrived.elapsed() < ALONE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn marks_that_fail_are_tried_again_a_second_later_however_many_they_are() {
        let marks = CoalescedWrites::default();
        for _ in 0..=PER_GROUP_MAX {
            marks.leave(back());
        }
        marks.due().await;
        let failed = Instant::now();
        marks.restore(marks.take(iter::empty()));

        marks.due().await;

        assert!(failed.elapsed() >= ALONE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_goes_alone_a_second_after_it_arrived() {
        let marks = CoalescedWrites::default();
        let started = Instant::now();
        marks.leave(heartbeat(1));

        marks.due().await;

        assert!(started.elapsed() >= ALONE_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_who_is_back_does_not_wait_for_marks_that_have_time() {
        let marks = CoalescedWrites::default();
        let started = Instant::now();
        marks.leave(heartbeat(1));
        let (back, ()) = tokio::join!(
            async {
                marks.due().await;
                started.elapsed()
            },
            async {
                marks.leave(back());
            }
        );

        assert!(back < ALONE_AFTER, "{back:?}");
        assert_eq!(marks.take(iter::empty()).len(), 2);
    }

    #[test]
    fn a_group_takes_the_marks_of_its_own_seats_before_all_others() {
        let marks = CoalescedWrites::default();
        let away = |room| SoftWrite::SeatAway {
            room,
            seat: 0,
            session: SessionId::new(),
            since: HubTime(1),
            hold_until: HubTime(2),
        };
        for _ in 0..2 * PER_GROUP_MAX {
            marks.leave(away(RoomId::new()));
        }
        let rooms: Vec<RoomId> = (0..64).map(|_| RoomId::new()).collect();
        for room in &rooms {
            marks.leave(away(*room));
        }
        let releases: Vec<Command> = rooms
            .iter()
            .map(|room| {
                Command::Seat(SeatCommand::Release(ReleaseSeat {
                    room: *room,
                    seat: 0,
                    session: SessionId::new(),
                    hold_until: Some(HubTime(2)),
                }))
            })
            .collect();

        let taken = marks.take(releases.iter());

        assert_eq!(taken.len(), PER_GROUP_MAX);
        for room in rooms {
            let is_of = |mark: &SoftWrite| matches!(mark, SoftWrite::SeatAway { room: of, .. } if *of == room);
            assert!(taken.iter().any(is_of), "{room:?}");
        }
    }
}

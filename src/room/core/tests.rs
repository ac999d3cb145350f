//! A room without IO: inputs go in, effects come out, and time passes only as the test says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use super::effect::Effect;
use super::{Contradiction, Room, SharedState};
use crate::clock::{HubClock, HubTime, Moment};
use crate::id::{RoomCode, RoomId, SessionId, UserId};
use crate::persistence::{
    Committed, Offsets, Refused, SessionWrite, StoredRoom, StoredStream, UserWrite, WriteError,
};
use crate::room::handle::RoomKey;
use crate::room::message::{Change, ClaimRequest, Claimed, RoomMessage, Wake};
use crate::room::metric::RoomMetrics;
use crate::room::registry::{Origin, RoomSeed, channel};
use crate::room::rules::kind::Kinds;
use crate::room::seat_event::{AttachSeq, SeatEvent};
use crate::wire::{Reason, Refusal, UserView};

const GRACE: Duration = Duration::from_secs(60);

/// A room and its time.
struct Bench {
    room: Room,
    now: Moment,
}

type Answer<T> = Receiver<Result<T, Refusal>>;

impl Bench {
    fn new(is_durable: bool) -> Bench {
        let mut config = crate::config::Config::default().kind["table"].clone();
        config.history_durable = is_durable;
        let kinds = Kinds::new(&[("table".to_owned(), config)].into());
        let kind = Arc::clone(kinds.get("table").unwrap());
        let code = RoomCode::random();
        let stored = StoredRoom {
            id: RoomId::new(),
            code,
            kind: "table".into(),
            settings: "{}".into(),
            grace: GRACE,
            current_game_id: None,
            stream: StoredStream {
                epoch: "first".into(),
                is_durable,
                ..StoredStream::default()
            },
            is_closed: false,
            seats: Vec::new(),
        };
        let seed = RoomSeed {
            key: RoomKey::Code(code),
            channel: channel("table", code),
            kind,
            stored: Some(stored),
            origin: Origin::Stored,
        };
        let metrics = Arc::new(RoomMetrics::new());
        let shared = SharedState {
            gauges: metrics.share(),
            metrics,
            recovery_max: 100,
            unheard: Arc::new(Semaphore::new(1)),
        };
        let mut now = HubClock::start().moment();
        now.hub = HubTime(1_000_000);
        let mut room = Room::start(seed, shared, false, now);
        room.take_effects();
        Bench { room, now }
    }

    fn advance(&mut self, time: Duration) {
        self.now.hub = self.now.hub.plus(time);
        self.now.at += time;
    }

    fn input(&mut self, input: RoomMessage) -> Result<Vec<Effect>, Contradiction> {
        self.room.handle(input, self.now)?;
        Ok(self.room.take_effects())
    }

    fn outcome(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
    ) -> Result<Vec<Effect>, Contradiction> {
        self.input(RoomMessage::Settled { change, result })
    }

    /// Claims the first free seat for somebody who is attached.
    fn claims(&mut self, session: SessionId) -> (Vec<Effect>, Answer<Claimed>) {
        let (port, answer) = oneshot::channel();
        let user = UserView {
            id: UserId::guest(),
            name: "Ana".into(),
        };
        let request = ClaimRequest {
            session,
            user_write: UserWrite::Known(user.id.clone()),
            session_write: SessionWrite::Known(session),
            user,
            epoch: AttachSeq(1),
            is_attached: true,
            seat: None,
            team: None,
            notice: None,
            response: None,
            reply: port.into(),
        };
        let effects = self.input(RoomMessage::Claim(Box::new(request)));
        (effects.unwrap(), answer)
    }

    /// Seats somebody.
    fn seats(&mut self, session: SessionId) {
        let (effects, _answer) = self.claims(session);
        let change = written(&effects).unwrap();
        self.outcome(change, Ok(seated())).unwrap();
    }
}

/// The answer to a claim that is committed.
fn seated() -> Committed {
    Committed::Player {
        user: UserId::guest(),
        name: "Ana".into(),
    }
}

/// The change that is to be written, if there is one.
fn written(effects: &[Effect]) -> Option<Change> {
    effects.iter().find_map(|effect| {
        let Effect::Write { change, .. } = effect else {
            return None;
        };
        Some(*change)
    })
}

fn notified(effects: &[Effect]) -> Vec<(SessionId, &SeatEvent)> {
    let events = effects.iter().filter_map(|effect| {
        let Effect::Notify(session, event) = effect else {
            return None;
        };
        Some((*session, event))
    });
    events.collect()
}

/// The first timer that is to be set.
fn timer(effects: &[Effect]) -> (Duration, Wake) {
    let timer = effects.iter().find_map(|effect| {
        let Effect::Wake { after, wake } = effect else {
            return None;
        };
        Some((*after, *wake))
    });
    timer.expect("a timer")
}

fn send_answers(effects: Vec<Effect>) {
    for effect in effects {
        if let Effect::Claimed(claim, result) = effect {
            claim.settle(*result);
        }
    }
}

#[test]
fn a_claim_is_answered_after_its_commit_and_its_session_before_that() {
    let mut bench = Bench::new(false);
    let ana = SessionId::new();

    let (effects, mut answer) = bench.claims(ana);
    let change = written(&effects).unwrap();
    send_answers(effects);
    assert_eq!(answer.try_recv().unwrap_err(), TryRecvError::Empty);

    let effects = bench.outcome(change, Ok(seated())).unwrap();
    let order: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Notify(..) | Effect::Claimed(..)))
        .collect();
    assert!(matches!(
        order[..],
        [
            Effect::Notify(session, SeatEvent::Gained { .. }),
            Effect::Claimed(..)
        ] if *session == ana
    ));
    send_answers(effects);
    assert_eq!(answer.try_recv().unwrap().unwrap().seat.number, 0);
}

#[test]
fn a_claim_that_is_refused_leaves_the_seat_free_for_the_next() {
    let mut bench = Bench::new(false);
    let (effects, mut answer) = bench.claims(SessionId::new());
    let change = written(&effects).unwrap();

    let refused = WriteError::Refused(Refused::InsufficientCredits { needed: 3, has: 1 });
    let effects = bench.outcome(change, Err(refused)).unwrap();

    assert!(notified(&effects).is_empty());
    send_answers(effects);
    let refusal = answer.try_recv().unwrap().unwrap_err();
    assert_eq!(refusal.reason, Reason::InsufficientCredits);
    let (effects, _) = bench.claims(SessionId::new());
    assert!(matches!(written(&effects), Some(Change::Claim { seat: 0 })));
}

#[test]
fn an_outcome_that_is_unknown_makes_the_room_ask_the_database() {
    let mut bench = Bench::new(false);
    let (effects, _answer) = bench.claims(SessionId::new());
    let change = written(&effects).unwrap();

    assert!(bench.outcome(change, Err(WriteError::Lost)).is_err());
}

#[test]
fn a_hold_that_is_over_is_written_before_its_session_is_notified() {
    let mut bench = Bench::new(false);
    let ana = SessionId::new();
    bench.seats(ana);

    let away = RoomMessage::Away {
        session: ana,
        epoch: AttachSeq(1),
    };
    let effects = bench.input(away).unwrap();
    let (after, wake) = timer(&effects);
    assert!(matches!(wake, Wake::Hold { seat: 0, .. }));
    assert_eq!(after, GRACE);

    bench.advance(after);
    let effects = bench.input(RoomMessage::Wake(wake)).unwrap();
    assert!(notified(&effects).is_empty());
    let change = written(&effects).unwrap();
    let effects = bench.outcome(change, Ok(Committed::Done)).unwrap();
    assert!(matches!(
        notified(&effects)[..],
        [(session, SeatEvent::Released { .. })] if session == ana
    ));
}

#[test]
fn a_holder_who_comes_back_in_time_keeps_the_seat() {
    let mut bench = Bench::new(false);
    let ana = SessionId::new();
    bench.seats(ana);
    let (session, epoch) = (ana, AttachSeq(1));
    let effects = bench.input(RoomMessage::Away { session, epoch }).unwrap();
    let (_, wake) = timer(&effects);

    let epoch = AttachSeq(2);
    bench.input(RoomMessage::Back { session, epoch }).unwrap();
    bench.advance(GRACE);
    let effects = bench.input(RoomMessage::Wake(wake)).unwrap();

    assert!(written(&effects).is_none());
}

#[test]
fn a_session_whose_leave_was_never_written_is_asked_to_look_again() {
    let mut bench = Bench::new(true);
    let (ana, bo) = (SessionId::new(), SessionId::new());
    let (effects, _answer) = bench.claims(ana);
    let change = written(&effects).unwrap();
    let committed = Committed::Told {
        of: Box::new(seated()),
        offsets: Offsets { first: 1, last: 1 },
    };
    bench.outcome(change, Ok(committed)).unwrap();

    // The claim is being written, so the leave waits for its turn in the stream.
    let (_, _claimed) = bench.claims(bo);
    let (port, _left) = oneshot::channel();
    let leave = RoomMessage::Release {
        session: ana,
        once: None,
        reply: port.into(),
    };
    assert!(written(&bench.input(leave).unwrap()).is_none());

    let unsure = bench.room.events_of_unwritten();
    assert!(matches!(
        unsure[..],
        [(session, SeatEvent::Unsure { .. })] if session == ana
    ));
}

//! The start of a room from its row, or of an open channel from nothing.

use std::time::Duration;

use crate::clock::{HubTime, Moment};
use crate::persistence::{StoredRoom, StoredSeat, StoredStream};
use crate::room::core::shutdown::ShutdownPhase;
use crate::room::core::{Identity, Life, Memory, Phase, Profile, Room, SharedState, Waiting};
use crate::room::message::Wake;
use crate::room::registry::{Origin, RoomSeed};
use crate::room::rules::members::Members;
use crate::room::rules::publish_dedup::RecentKeys;
use crate::room::rules::publish_queue::PublishQueue;
use crate::room::rules::seats::{Occupant, Seats};
use crate::room::rules::stream::Stream;
use crate::room::rules::write_batching::WriteBatcher;
use crate::room::seat_event::{AttachSeq, SeatEvent};

/// How long a room stays live after a fruitless lookup: as long as requests may take.
const REST_AFTER: Duration = Duration::from_secs(5);

/// The least remaining hold in a room that was read from its row. In this time attached sessions report back, and the
/// waits of clients that came while the room was dormant are added.
const READ_HOLD_MIN: Duration = Duration::from_secs(5);

/// Returns the hold of a seat that was read. The row may be outdated: the holder may be attached, or may have left.
fn read_hold(seat: &StoredSeat, now: HubTime) -> HubTime {
    match seat.hold_until {
        Some(end) => end.max(now.plus(READ_HOLD_MIN.min(seat.grace))),
        None => now.plus(seat.grace),
    }
}

impl Room {
    /// Starts a room. Its effects wait to be carried out.
    pub(in crate::room) fn start(
        seed: RoomSeed,
        shared: SharedState,
        is_paused: bool,
        now: Moment,
    ) -> Room {
        let (profile, phase, seats, stream) = take_apart(seed.stored);
        let mut room = Room {
            stream: Stream::new(&seed.kind.config, stream, now.hub),
            seating: Seats::new(seed.kind.config.seats, &seats),
            identity: Identity {
                key: seed.key,
                channel: seed.channel,
                kind: seed.kind,
                profile,
            },
            members: Members::new(),
            crowd: WriteBatcher::default(),
            repeats: RecentKeys::default(),
            journal: PublishQueue::default(),
            waiting: Waiting::default(),
            life: Life {
                phase,
                halt: match is_paused {
                    true => ShutdownPhase::Paused,
                    false => ShutdownPhase::Running,
                },
                vacancy: 0,
                is_solitary: matches!(seed.origin, Origin::Opened(_)),
                memory: Memory::Empty,
                keep: None,
                is_prune_pending: false,
            },
            shared,
            now,
            effects: Vec::new(),
        };
        for seat in seats {
            room.restore(seat, seed.origin);
        }
        room.seats_freed();
        room.count_seats();
        // Only sets the timer: many rooms may start at once.
        room.prune(u64::MAX);
        if room.life.phase == Phase::Closed || room.identity.kind.is_open_channel() {
            room.wake(REST_AFTER, Wake::Rest);
        }
        room
    }

    /// Puts a holder back into its seat.
    fn restore(&mut self, seat: StoredSeat, origin: Origin) {
        let now = self.now();
        let hold_until = match origin {
            Origin::Opened(_) => seat.hold_until,
            Origin::Stored | Origin::Rebuilt => Some(read_hold(&seat, now)),
        };
        let epoch = match origin {
            Origin::Opened(epoch) => epoch,
            Origin::Stored | Origin::Rebuilt => AttachSeq(0),
        };
        let occupant = Occupant {
            hold_until,
            recorded: hold_until,
            ..Occupant::stored(&seat, epoch)
        };
        self.seating.put(seat.number, occupant.clone());
        if let Some(end) = hold_until {
            self.wake_at(seat.number, end);
        }
        if hold_until != seat.hold_until {
            self.mark_hold(seat.number, &occupant);
        }
        match (origin, self.holding(seat.number, &occupant)) {
            // A durable stream has the event since the room was opened.
            (Origin::Opened(_), _) if self.stream.is_durable() => {}
            (Origin::Opened(_), _) => self.announce_held(seat.number, &occupant),
            (Origin::Rebuilt, Some(seat)) => {
                self.notify(occupant.session, SeatEvent::Restored { seat });
            }
            (Origin::Rebuilt, None) | (Origin::Stored, _) => {}
        }
    }
}

fn take_apart(
    stored: Option<StoredRoom>,
) -> (Option<Profile>, Phase, Vec<StoredSeat>, StoredStream) {
    let Some(stored) = stored else {
        return (None, Phase::Open, Vec::new(), StoredStream::default());
    };
    let phase = if stored.is_closed {
        Phase::Closed
    } else {
        Phase::Open
    };
    let profile = Profile::stored(&stored);
    (Some(profile), phase, stored.seats, stored.stream)
}

//! Seat and room changes that also publish an event. A durable stream commits the event with its change: after a
//! crash, it has the event of every seat that was claimed or released.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::HubTime;
use crate::id::SessionId;
use crate::persistence::{
    Committed, NewPublication, News, Offsets, Refused, StoredRoom, StreamId, Write, WriteError,
};
use crate::room::core::effect::event_of_outcome;
use crate::room::core::seat::session_change::SessionTold;
use crate::room::core::stream::history_loader::PRUNE_AT;
use crate::room::core::{Contradiction, Room};
use crate::room::message::Change;
use crate::room::rules::kind::Kind;
use crate::room::rules::publish_queue::{Entry, PublicationDraft};
use crate::room::rules::queued_change::{InFlightChange, QueuedChange};
use crate::room::rules::seats::Occupant;
use crate::room::seat_event::SeatEvent;
use crate::wire::{CloseReason, RoomEvent, SeatEventBody, UserView, hub_tags};

impl Room {
    /// Writes a change that also publishes events. In a durable stream it waits for all earlier publications.
    pub(in crate::room) fn write_told(&mut self, write: Write, change: Change) {
        if !self.stream.is_durable() {
            return self.write(write, change);
        }
        self.journal.push_deed(QueuedChange {
            write,
            change,
            since: self.now.at,
        });
        self.write_batch();
    }

    /// Writes the next change in the queue, unless a write is in progress.
    pub(in crate::room) fn write_deed(&mut self) {
        let Some(room) = self.id() else {
            return;
        };
        let Some(QueuedChange {
            mut write,
            change,
            since,
        }) = self.journal.next_deed()
        else {
            return;
        };
        let news = News {
            stream: self.stream.id(room),
            events: self.events(change),
            time: self.now(),
        };
        write.news = Some(Box::new(news.clone()));
        self.journal.begin(InFlightChange { news, since });
        self.write_since(write, change, since);
    }

    /// Returns the events of the changes that wait for their turn, as if their outcomes were unknown: the room is gone
    /// before they were written.
    pub(in crate::room) fn events_of_unwritten(&mut self) -> Vec<(SessionId, SeatEvent)> {
        let Some(room) = self.id() else {
            return Vec::new();
        };
        let changes = self.journal.take_deeds().into_iter();
        let events =
            changes.map(|deed| event_of_outcome(room, deed.change, &Err(WriteError::Lost)));
        events.flatten().collect()
    }

    /// Handles the outcome of a change in a durable stream.
    pub(in crate::room) fn deed_settled(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
    ) -> Result<(), Contradiction> {
        let doing = self.journal.done();
        let mut is_told = false;
        let result = match result.map(Committed::apart) {
            Ok((committed, Some(offsets))) => {
                if let Some(InFlightChange { news, since }) = doing {
                    self.deliver_news(news.publications(&committed), offsets, since)?;
                }
                is_told = true;
                Ok(committed)
            }
            Ok((committed, None)) => Ok(committed),
            Err(error) => Err(error),
        };
        self.change_settled(change, result, is_told)?;
        self.write_batch();
        self.prune(PRUNE_AT);
        self.finish_close_if_told();
        Ok(())
    }

    /// Delivers the event that the commit of a session's change has put into the stream, in the order of the commits.
    /// Returns whether there is one.
    pub(in crate::room) fn hear_of_session(
        &mut self,
        told: SessionTold,
    ) -> Result<bool, Contradiction> {
        match told {
            SessionTold::Told(news) if news.offset > self.stream.top() => {
                let offset = news.offset;
                let offsets = Offsets {
                    first: offset,
                    last: offset,
                };
                self.deliver_news([news.publication], offsets, self.now.at)?;
                Ok(true)
            }
            // The room has been read from the database since.
            SessionTold::Told(_) => Ok(true),
            SessionTold::Untold => Ok(false),
            SessionTold::Unknown if self.stream.is_durable() => {
                Err("a session has changed, and the stream may have the event of it".into())
            }
            SessionTold::Unknown => Ok(false),
        }
    }

    /// Refuses all waiting changes, because the database takes no writes.
    pub(in crate::room) fn give_up(
        &mut self,
        deeds: Vec<QueuedChange>,
        refused: &Refused,
    ) -> Result<(), Contradiction> {
        for QueuedChange { change, .. } in deeds {
            let result = Err(WriteError::Refused(refused.clone()));
            self.change_settled(change, result, false)?;
        }
        Ok(())
    }

    /// Delivers the events that were stored with a change.
    fn deliver_news(
        &mut self,
        news: impl IntoIterator<Item = NewPublication>,
        offsets: Offsets,
        since: Instant,
    ) -> Result<(), Contradiction> {
        let expected = self.stream.top() + 1;
        if offsets.first != expected {
            return Err(format!("{offsets:?} of a stream whose next is {expected}").into());
        }
        self.stream.begun();
        for publication in news {
            let said = PublicationDraft {
                data: publication.data,
                info: None,
                tags: Some(hub_tags()),
                time: publication.time,
                since,
            };
            self.deliver(Entry {
                said,
                reply: None,
                key: None,
            });
        }
        Ok(())
    }

    /// Returns the events that a change will publish. All earlier publications are settled by now.
    fn events(&self, change: Change) -> Vec<RoomEvent> {
        let holder = |seat: u16| self.seating.concerned(seat);
        let event = match change {
            Change::Claim { seat } => return self.events_of_claim(seat),
            Change::Take { seat, .. } => holder(seat)
                .filter(|holder| holder.hold_until.is_none())
                .map(|holder| RoomEvent::Away(self.seat_body(seat, holder).hold(self.grace()))),
            Change::Hold { seat, longer, .. } => longer
                .zip(holder(seat))
                .map(|(longer, holder)| RoomEvent::Away(self.seat_body(seat, holder).hold(longer))),
            Change::Release { seat, reason, .. } => holder(seat)
                .map(|holder| RoomEvent::Released(self.seat_body(seat, holder).reason(reason))),
            Change::Close => Some(RoomEvent::Closed {
                reason: CloseReason::Empty,
            }),
            Change::EndTokens { .. } | Change::Publish | Change::RemoveHistory { .. } => None,
        };
        event.into_iter().collect()
    }

    fn events_of_claim(&self, seat: u16) -> Vec<RoomEvent> {
        let Some(holder) = self.seating.concerned(seat) else {
            return Vec::new();
        };
        let mut soon = self.seating.clone();
        soon.confirm(seat, Arc::clone(&holder.user.name));
        held(
            self.seat_body(seat, holder),
            self.grace(),
            soon.is_complete(),
        )
    }

    /// Returns the part of a seat's event that all of them have.
    pub(in crate::room) fn seat_body(&self, seat: u16, holder: &Occupant) -> SeatEventBody {
        SeatEventBody::new(seat, self.identity.kind.team(seat), holder.user.clone())
    }

    pub(in crate::room) fn grace(&self) -> Duration {
        let grace = self.identity.profile.as_ref().map(|profile| profile.grace);
        grace.unwrap_or_default()
    }
}

/// Returns the events of opening a room, for the commit that opens it. None where the kind's history is not durable:
/// there the room publishes them when it is started.
pub fn opened_news(kind: &Kind, stored: &StoredRoom, now: HubTime) -> Option<News> {
    let seat = stored.seats.first()?;
    let holder = UserView {
        id: seat.user.clone(),
        name: Arc::clone(&seat.user_name),
    };
    let body = SeatEventBody::new(seat.number, seat.team.clone(), holder);
    kind.config.history_durable.then(|| News {
        stream: StreamId {
            room: stored.id,
            epoch: Arc::clone(&stored.stream.epoch),
            begins_after: Some(0),
        },
        events: held(body, stored.grace, kind.config.seats == 1),
        time: now,
    })
}

/// Returns the events of a claimed seat, and of the room if that completes it.
pub(in crate::room) fn held(
    seat: SeatEventBody,
    grace: Duration,
    is_complete: bool,
) -> Vec<RoomEvent> {
    let mut events = vec![RoomEvent::Held(seat.hold(grace))];
    events.extend(is_complete.then_some(RoomEvent::Ready));
    events
}

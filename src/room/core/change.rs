//! Seat and room changes that also publish an event. A durable stream commits the event with its change: after a
//! crash, it has the event of every seat that was claimed or released.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ractor::ActorProcessingErr;

use super::Room;
use super::history_loader::PRUNE_AT;
use super::session_change::SessionTold;
use crate::clock::HubTime;
use crate::persistence::{
    self, Committed, NewPublication, Offsets, Refused, SessionSeat, StoredRoom, StreamId, Words,
    Write, WriteError,
};
use crate::room::message::{Change, RoomMessage};
use crate::room::rules::events::{EMPTY, News, ReleaseReason, SeatEventBody};
use crate::room::rules::kind::Kind;
use crate::room::rules::publish_queue::PublicationDraft;
use crate::room::rules::queued_change::{Completion, InFlightChange, QueuedChange};
use crate::room::rules::seats::Occupant;
use crate::room::rules::stored::json;
use crate::room::seat_event::AttachSeq;
use crate::wire::{UserView, hub_tags};

impl Room {
    /// Writes a change that also publishes events. In a durable stream it waits for all earlier publications.
    pub(super) fn write_told(&mut self, write: Write, change: Change, hear: Completion) {
        if !self.stream.is_durable() {
            return self.write_and(write, change, move |result| hear.hear(result));
        }
        self.journal.push_deed(QueuedChange {
            write,
            change,
            hear,
            since: Instant::now(),
        });
        self.write_batch();
    }

    /// Writes the next change in the queue, unless a write is in progress.
    pub(super) fn write_deed(&mut self) {
        let (Some(profile), Some(deed)) = (&self.profile, self.journal.next_deed()) else {
            return;
        };
        let QueuedChange {
            mut write,
            change,
            hear,
            since,
        } = deed;
        let words = self.words(change);
        write.news = Some(Box::new(persistence::News {
            stream: self.stream.id(profile.id),
            words: words.clone(),
        }));
        self.journal.begin(InFlightChange { words, since });
        let me = self.me.clone();
        self.context
            .persistence
            .write_since(write, since.into(), move |result| {
                hear.hear(&result);
                // An error means that the room has since been rebuilt from the database.
                let _ = me.cast(RoomMessage::Settled { change, result });
            });
    }

    /// Handles the outcome of a change in a durable stream.
    pub(super) async fn deed_settled(
        &mut self,
        change: Change,
        result: Result<Committed, WriteError>,
    ) -> Result<(), ActorProcessingErr> {
        let doing = self.journal.done();
        let mut is_told = false;
        let result = match result.map(Committed::apart) {
            Ok((committed, Some(offsets))) => {
                if let Some(InFlightChange { words, since }) = doing {
                    self.deliver_news(words.of(&committed), offsets, since)?;
                }
                is_told = true;
                Ok(committed)
            }
            Ok((committed, None)) => Ok(committed),
            Err(error) => Err(error),
        };
        self.change_settled(change, result, is_told).await?;
        self.write_batch();
        self.prune(PRUNE_AT).await;
        self.finish_close_if_told();
        Ok(())
    }

    /// Delivers the event that the commit of a session's change has put into the stream, in the order of the commits.
    /// Returns whether there is one.
    pub(super) fn hear_of_session(
        &mut self,
        told: SessionTold,
    ) -> Result<bool, ActorProcessingErr> {
        match told {
            SessionTold::Told(news) if news.offset > self.stream.top() => {
                let offset = news.offset;
                let offsets = Offsets {
                    first: offset,
                    last: offset,
                };
                self.deliver_news([news.publication], offsets, Instant::now())?;
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
    pub(super) async fn give_up(
        &mut self,
        deeds: Vec<QueuedChange>,
        refused: &Refused,
    ) -> Result<(), ActorProcessingErr> {
        for QueuedChange { change, hear, .. } in deeds {
            let result = Err(WriteError::Refused(refused.clone()));
            hear.hear(&result);
            self.change_settled(change, result, false).await?;
        }
        Ok(())
    }

    /// Delivers the events that were stored with a change.
    fn deliver_news(
        &mut self,
        news: impl IntoIterator<Item = NewPublication>,
        offsets: Offsets,
        since: Instant,
    ) -> Result<(), ActorProcessingErr> {
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
            self.deliver(said, None);
        }
        Ok(())
    }

    /// Returns the events that a change will publish. All earlier publications are settled by now.
    fn words(&self, change: Change) -> Words {
        let now = self.now();
        let grace = self.profile.as_ref().map(|profile| profile.grace);
        let grace = grace.unwrap_or_default();
        let holder = |seat: u16| self.seating.concerned(seat).cloned();
        match change {
            Change::Claim { seat } => {
                let mut soon = self.seating.clone();
                if let Some(holder) = holder(seat) {
                    soon.confirm(seat, holder.user.name);
                }
                let team = self.kind.team(seat);
                held(seat, team, holder(seat), grace, soon.is_complete(), now)
            }
            Change::Take { seat, .. } => {
                let is_held = |holder: &Occupant| holder.hold_until.is_none();
                away(
                    seat,
                    self.kind.team(seat),
                    holder(seat).filter(is_held),
                    grace,
                    now,
                )
            }
            Change::Hold { seat, longer, .. } => {
                let (team, holder) = (self.kind.team(seat), longer.and(holder(seat)));
                away(seat, team, holder, longer.unwrap_or_default(), now)
            }
            Change::Release { seat, reason } => {
                let team = self.kind.team(seat);
                words(holder(seat), now, move |holder| {
                    let note = SeatEventBody::new(seat, team.clone(), holder).reason(reason);
                    vec![News::Released(note).to_json()]
                })
            }
            Change::Close => {
                Words::new(move |_| vec![row(News::Closed { reason: EMPTY }.to_json(), now)])
            }
            Change::EndTokens { .. } | Change::Publish | Change::RemoveHistory { .. } => {
                Words::new(|_| Vec::new())
            }
        }
    }
}

/// Returns the events of opening a room, for the commit that opens it. None where the kind's history is not durable:
/// there the room publishes them when it is started.
pub fn opened_news(kind: &Kind, stored: &StoredRoom, now: HubTime) -> Option<persistence::News> {
    let seat = stored.seats.first()?;
    kind.config.history_durable.then(|| persistence::News {
        stream: StreamId {
            room: stored.id,
            epoch: Arc::clone(&stored.stream.epoch),
            begins_after: Some(0),
        },
        words: held(
            seat.number,
            seat.team.clone(),
            Some(Occupant::stored(seat, AttachSeq(0))),
            stored.grace,
            kind.config.seats == 1,
            now,
        ),
    })
}

/// Returns the event of a seat that is released because its session has ended.
pub fn parting_words(seat: &SessionSeat, now: HubTime) -> NewPublication {
    let user = UserView {
        id: seat.user.clone(),
        name: Arc::clone(&seat.user_name),
    };
    let note = SeatEventBody::of(seat.number, seat.team.clone(), &user);
    let note = note.reason(ReleaseReason::SessionEnded);
    row(News::Released(note).to_json(), now)
}

/// Returns the event of a seat whose guest has become a user.
pub fn adopted_words(seat: &SessionSeat, now: HubTime) -> NewPublication {
    let user = UserView {
        id: seat.user.clone(),
        name: Arc::clone(&seat.user_name),
    };
    let note = SeatEventBody::of(seat.number, seat.team.clone(), &user);
    row(News::Back(note).to_json(), now)
}

/// Returns the events of a claimed seat, and of the room if that completes it.
fn held(
    seat: u16,
    team: Option<Arc<str>>,
    holder: Option<Occupant>,
    grace: Duration,
    is_complete: bool,
    now: HubTime,
) -> Words {
    words(holder, now, move |holder| {
        let note = SeatEventBody::new(seat, team.clone(), holder).hold(grace);
        let mut news = vec![News::Held(note).to_json()];
        if is_complete {
            news.push(News::Ready.to_json());
        }
        news
    })
}

fn away(
    seat: u16,
    team: Option<Arc<str>>,
    holder: Option<Occupant>,
    hold: Duration,
    now: HubTime,
) -> Words {
    words(holder, now, move |holder| {
        let note = SeatEventBody::new(seat, team.clone(), holder).hold(hold);
        vec![News::Away(note).to_json()]
    })
}

/// Returns the events of a seat's holder, under the name that the commit finds.
fn words(
    holder: Option<Occupant>,
    now: HubTime,
    tell: impl Fn(&Occupant) -> Vec<Bytes> + Send + Sync + 'static,
) -> Words {
    Words::new(move |name| {
        let Some(mut holder) = holder.clone() else {
            return Vec::new();
        };
        if let Some(name) = name {
            holder.user.name = Arc::clone(name);
        }
        let news = tell(&holder).into_iter();
        news.map(|data| row(data, now)).collect()
    })
}

fn row(data: Bytes, time: HubTime) -> NewPublication {
    NewPublication {
        data,
        info: None,
        tags: Some(json(&*hub_tags())),
        time,
    }
}

//! The end of a session. Its order: claims under way finish; the end is written; the rooms release the seats; the
//! client's connection closes; the caller is answered; the actor retires. A refused write leaves the session as it was.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};

use super::adoption::Adopting;
use super::state::{Link, Phase, Session};
use crate::id::{RoomCode, RoomId, SessionId};
use crate::mailbox::answer;
use crate::persistence::{
    Committed, EndSession, IdempotencyRecord, Refused, SessionCommand, SessionNews, Write,
    WriteError,
};
use crate::room::{HeldSeat, SessionTold, refusal};
use crate::session::message::SessionMessage;
use crate::session::registry::SessionContext;
use crate::supervisor::ShardMessage;
use crate::wire::{Close, Frame, Reason, Refusal};

/// Wait before the database is asked again if a session has ended.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A change that ends this actor once it is written, with the caller that waits for it.
pub(crate) enum Ending {
    End {
        last_words: Option<Frame>,
        /// The idempotency key of the request.
        once: Option<Arc<IdempotencyRecord>>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    },
    /// The session is to become another user's.
    Adoption(Box<Adopting>),
}

impl Ending {
    pub(crate) fn refuse(self, refusal: Refusal) {
        match self {
            Ending::End { reply, .. } => answer(reply, Err(refusal)),
            Ending::Adoption(adopting) => adopting.refuse(refusal),
        }
    }
}

/// The completion of the write of a session's end. It outlives the session's actor: if that fails, the rooms must still
/// release the seats.
struct End {
    context: Arc<SessionContext>,
    session: SessionId,
    /// The rooms in which the session sits.
    rooms: Vec<(RoomId, RoomCode)>,
    me: ActorRef<SessionMessage>,
}

impl End {
    fn settled(self, result: Result<Committed, WriteError>) {
        match (result, tokio::runtime::Handle::try_current()) {
            (Ok(Committed::Ended(farewells)), _) => self.part(farewells),
            // Ended before, under the same idempotency key.
            (Ok(_) | Err(WriteError::Refused(Refused::Repeated(_))), _) => self.part(Vec::new()),
            (Err(WriteError::Refused(refused)), _) => self.answer(Err(refused)),
            (Err(WriteError::Lost), Ok(runtime)) => {
                runtime.spawn(self.find_out());
            }
            // The process is ending, and the next one reads the stored state.
            (Err(WriteError::Lost), Err(_)) => {}
        }
    }

    async fn find_out(self) {
        let is_ended = loop {
            match self.context.persistence.session_truth(self.session).await {
                Ok(stored) => break stored.is_none_or(|stored| stored.is_ended),
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
            }
        };
        if is_ended {
            self.tell(|_| SessionTold::Unknown);
            self.answer(Ok(()));
        } else {
            self.answer(Err(Refused::Unavailable {
                retry_after: RETRY_DELAY,
            }));
        }
    }

    /// Has the rooms release the seats, with the events that the commit added to their durable streams.
    fn part(self, mut farewells: Vec<SessionNews>) {
        self.tell(|room| SessionTold::take(&mut farewells, room));
        self.answer(Ok(()));
    }

    fn tell(&self, mut told: impl FnMut(RoomId) -> SessionTold) {
        for (id, code) in &self.rooms {
            let rooms = &self.context.rooms;
            rooms.vacated(*code, self.session, told(*id));
        }
    }

    fn answer(self, result: Result<(), Refused>) {
        // On an error the session has failed; its successor has read from the database if it is ended.
        let _ = self.me.cast(SessionMessage::EndSettled(result));
    }
}

impl Session {
    pub(crate) fn end(&mut self, ending: Ending) {
        match (self.check_live(), &self.ending) {
            (Err(refusal), _) => ending.refuse(refusal),
            (Ok(()), Some(_)) => ending.refuse(Refusal::unavailable()),
            (Ok(()), None) => {
                self.ending = Some(ending);
                self.advance();
            }
        }
    }

    /// Writes the pending end or adoption. Until the outcome is known, no connection attaches and no claim begins.
    pub(crate) fn write_end(&mut self) {
        match &self.ending {
            Some(Ending::End { once, .. }) => self.write_session_end(once.clone()),
            Some(Ending::Adoption(adopting)) => self.write_adoption(adopting),
            None => return,
        }
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Attached(link) => Some(link),
            Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired => None,
        };
        self.phase = Phase::Ending(link);
    }

    fn write_session_end(&self, once: Option<Arc<IdempotencyRecord>>) {
        let session = self.known.id;
        let end = End {
            context: Arc::clone(&self.context),
            session,
            rooms: self.seated_in(),
            me: self.me.clone(),
        };
        let command = SessionCommand::End(EndSession {
            session,
            told_in: self.durable_rooms(),
        });
        let write = Write::once(command, once);
        self.context
            .persistence
            .write_then(write, move |result| end.settled(result));
    }

    /// Returns the rooms in which the session sits.
    pub(crate) fn seated_in(&self) -> Vec<(RoomId, RoomCode)> {
        let seats = self.seats.iter();
        seats.map(|seat| (seat.room, seat.code)).collect()
    }

    /// Returns the rooms with durable streams in which the session sits.
    pub(crate) fn durable_rooms(&self) -> Vec<RoomId> {
        let kinds = self.context.rooms.kinds();
        let durable = self.seats.iter().filter(|seat| {
            let kind = kinds.of_channel(&seat.channel);
            kind.is_some_and(|kind| kind.config.history_durable)
        });
        durable.map(|seat| seat.room).collect()
    }

    /// Takes the pending change whose write has finished, and the attached connection.
    pub(crate) fn take_ending(&mut self) -> (Option<Ending>, Option<Link>) {
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Ending(link) => link,
            Phase::Attached(link) => Some(link),
            Phase::Away | Phase::Ended | Phase::Retired => None,
        };
        (self.ending.take(), link)
    }

    pub(crate) fn end_settled(&mut self, result: Result<(), Refused>) {
        let (ending, link) = self.take_ending();
        match (result, ending) {
            (Ok(()), ending) => self.ended(ending, link),
            (Err(refused), Some(ending)) => self.goes_on(ending, &refused, link),
            (Err(_), None) => {}
        }
    }

    /// Continues the session as it was, after its end or its adoption was refused.
    pub(super) fn goes_on(&mut self, ending: Ending, refused: &Refused, link: Option<Link>) {
        ending.refuse(refusal(refused));
        match link {
            Some(link) => {
                self.phase = Phase::Attached(link);
                // A room that was rebuilt during the write believes the session away.
                self.catch_up();
            }
            None => self.turn_away(),
        }
        self.advance();
    }

    /// Has a room release a seat because the session has ended. A room that was rebuilt from rows read before the end
    /// was written would otherwise keep the seat.
    pub(crate) fn gave_up(&self, seat: &HeldSeat) {
        let rooms = &self.context.rooms;
        rooms.vacated(seat.code, self.known.id, SessionTold::Untold);
    }

    /// Ends the session, whose end was committed with that of its user's other sessions.
    pub(crate) fn ended_with_others(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            self.refuse_waiting();
            let (ending, link) = self.take_ending();
            self.ended(ending, link);
        }
    }

    /// Refuses the connections that wait: the session has ended.
    fn refuse_waiting(&mut self) {
        let ended = || Err(Refusal::new(Reason::SessionEnded, "the session has ended"));
        if let Some(waiting) = self.waiting.take() {
            answer(waiting.reply, ended());
        }
        if let Some(arriving) = self.arriving.take() {
            answer(arriving.reply, ended());
        }
    }

    fn ended(&mut self, ending: Option<Ending>, link: Option<Link>) {
        self.phase = Phase::Ended;
        for seat in self.seats.iter() {
            self.gave_up(seat);
        }
        self.seats.clear();
        let (last_words, reply) = match ending {
            Some(Ending::End {
                last_words, reply, ..
            }) => (last_words, Some(reply)),
            Some(Ending::Adoption(_)) | None => (None, None),
        };
        if let Some(link) = link {
            link.close(last_words, Close::SessionEnded);
        }
        if let Some(reply) = reply {
            answer(reply, Ok(()));
        }
        let key = self.known.id;
        self.tell_shard(ShardMessage::Goes { key });
    }
}

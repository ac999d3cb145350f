//! The end of a session: durable, and told to its rooms and its client.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::brood::SessionContext;
use super::message::SessionMessage;
use super::state::{Ending, Link, Phase, Session};
use crate::id::{RoomCode, RoomId, SessionId};
use crate::mailbox::answer;
use crate::persistence::{Command, Committed, EndSession, Farewell, Refused, Write, WriteError};
use crate::room::{Holding, Parting, parting_words, refusal};
use crate::supervisor::ShardMessage;
use crate::wire::{Close, Refusal};

/// The wait before the database is asked again whether a session has ended.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The end of a session, while it is written. It outlives the session's actor: if that fails, the
/// rooms must hear of the end all the same.
struct End {
    context: Arc<SessionContext>,
    session: SessionId,
    /// Where the session sits.
    rooms: Vec<(RoomId, RoomCode)>,
    me: ActorRef<SessionMessage>,
}

impl End {
    fn settled(self, result: Result<Committed, WriteError>) {
        match (result, tokio::runtime::Handle::try_current()) {
            (Ok(Committed::Ended(farewells)), _) => self.part(farewells),
            // Under its key it was ended before.
            (Ok(_) | Err(WriteError::Refused(Refused::Repeated(_))), _) => self.part(Vec::new()),
            (Err(WriteError::Refused(refused)), _) => self.answer(Err(refused)),
            (Err(WriteError::Lost), Ok(runtime)) => {
                runtime.spawn(self.find_out());
            }
            // The process is ending, and the next one reads what is stored.
            (Err(WriteError::Lost), Err(_)) => {}
        }
    }

    async fn find_out(self) {
        let is_ended = loop {
            match self.context.persistence.session_truth(self.session).await {
                Ok(stored) => break stored.is_none_or(|stored| stored.is_ended),
                Err(_) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            }
        };
        if is_ended {
            self.tell(|_| Parting::Unknown);
            self.answer(Ok(()));
        } else {
            self.answer(Err(Refused::Unavailable {
                retry_after: ASK_AGAIN_AFTER,
            }));
        }
    }

    /// It has ended, and these streams tell so already.
    fn part(self, mut farewells: Vec<Farewell>) {
        self.tell(|room| {
            let told = farewells.iter().position(|told| told.room == room);
            told.map_or(Parting::Untold, |at| {
                Parting::Told(farewells.swap_remove(at))
            })
        });
        self.answer(Ok(()));
    }

    fn tell(&self, mut parting: impl FnMut(RoomId) -> Parting) {
        for (id, code) in &self.rooms {
            let rooms = &self.context.rooms;
            rooms.vacated(*code, self.session, parting(*id));
        }
    }

    fn answer(self, result: Result<(), Refused>) {
        // The session has failed; its successor has read whether it is ended.
        let _ = self.me.cast(SessionMessage::EndSettled(result));
    }
}

impl Session {
    pub(super) fn end(&mut self, ending: Ending) {
        match (self.check_live(), &self.ending) {
            (Err(refusal), _) => answer(ending.reply, Err(refusal)),
            (Ok(()), Some(_)) => answer(ending.reply, Err(Refusal::unavailable())),
            (Ok(()), None) => {
                self.ending = Some(ending);
                self.advance();
            }
        }
    }

    pub(super) fn write_end(&mut self) {
        let session = self.known.id;
        let end = End {
            context: Arc::clone(&self.context),
            session,
            rooms: self
                .seats
                .iter()
                .map(|seat| (seat.room, seat.code))
                .collect(),
            me: self.me.clone(),
        };
        let once = self.ending.as_ref().and_then(|ending| ending.once.clone());
        let kinds = self.context.rooms.kinds();
        let durable = self.seats.iter().filter(|seat| {
            let kind = kinds.of_channel(&seat.channel);
            kind.is_some_and(|kind| kind.config.history_durable)
        });
        let command = Command::EndSession(EndSession {
            session,
            told_in: durable.map(|seat| seat.room).collect(),
            words: parting_words,
        });
        let write = Write::once(command, once);
        self.context
            .persistence
            .write_then(write, move |result| end.settled(result));
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Attached(link) => Some(link),
            Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired => None,
        };
        self.phase = Phase::Ending(link);
    }

    pub(super) fn end_settled(&mut self, result: Result<(), Refused>) {
        let ending = self.ending.take();
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Ending(link) => link,
            Phase::Away | Phase::Attached(_) | Phase::Ended | Phase::Retired => None,
        };
        match result {
            Ok(()) => self.ended(ending, link),
            Err(refused) => {
                if let Some(ending) = ending {
                    answer(ending.reply, Err(refusal(&refused)));
                }
                match link {
                    Some(link) => {
                        self.phase = Phase::Attached(link);
                        // A room that was rebuilt meanwhile takes the session for away.
                        self.catch_up();
                    }
                    None => self.turn_away(),
                }
                self.advance();
            }
        }
    }

    /// Tells a room that the session has ended: one that has told of the seat since the end was written, as it was
    /// rebuilt from rows older than that, would keep it for nobody.
    pub(super) fn gave_up(&self, seat: &Holding) {
        let rooms = &self.context.rooms;
        rooms.vacated(seat.code, self.known.id, Parting::Untold);
    }

    fn ended(&mut self, ending: Option<Ending>, link: Option<Link>) {
        self.phase = Phase::Ended;
        for seat in self.seats.iter() {
            self.gave_up(seat);
        }
        self.seats.clear();
        if let Some(link) = link {
            let last_words = ending.as_ref().and_then(|ending| ending.last_words.clone());
            link.close(last_words, Close::SessionEnded);
        }
        if let Some(ending) = ending {
            answer(ending.reply, Ok(()));
        }
        let key = self.known.id;
        self.tell_shard(ShardMessage::Goes { key });
    }
}

//! The end of a session: durable, and told to its rooms and its client.

use super::message::SessionMessage;
use super::state::{Ending, Link, Phase, Session};
use crate::mailbox::answer;
use crate::persistence::{Command, Committed, EndSession, WriteError};
use crate::room::refusal;
use crate::supervisor::ShardMessage;
use crate::wire::{Close, Frame, Refusal};
use ractor::RpcReplyPort;

impl Session {
    pub(super) fn end(
        &mut self,
        last_words: Option<Frame>,
        reply: RpcReplyPort<Result<(), Refusal>>,
    ) {
        match (self.check_live(), &self.ending) {
            (Err(refusal), _) => answer(reply, Err(refusal)),
            (Ok(()), Some(_)) => answer(reply, Err(Refusal::unavailable())),
            (Ok(()), None) => {
                self.ending = Some(Ending { last_words, reply });
                self.advance();
            }
        }
    }

    pub(super) fn write_end(&mut self) {
        let me = self.me.clone();
        let session = self.known.id;
        let command = Command::EndSession(EndSession { session });
        self.context.persistence.write_then(command, move |result| {
            // The session has failed; its successor has read whether it is ended.
            let _ = me.cast(SessionMessage::EndSettled(result));
        });
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Attached(link) => Some(link),
            Phase::Away | Phase::Ending(_) | Phase::Ended | Phase::Retired => None,
        };
        self.phase = Phase::Ending(link);
    }

    /// An error ends the actor: whether the session is over must be read.
    pub(super) fn end_settled(
        &mut self,
        result: Result<Committed, WriteError>,
    ) -> Result<(), WriteError> {
        let ending = self.ending.take();
        let link = match std::mem::replace(&mut self.phase, Phase::Away) {
            Phase::Ending(link) => link,
            Phase::Away | Phase::Attached(_) | Phase::Ended | Phase::Retired => None,
        };
        match result {
            Ok(_) => self.ended(ending, link),
            Err(WriteError::Refused(refused)) => {
                if let Some(ending) = ending {
                    answer(ending.reply, Err(refusal(&refused)));
                }
                match link {
                    Some(link) => self.phase = Phase::Attached(link),
                    None => self.turn_away(),
                }
                self.advance();
            }
            Err(WriteError::Lost) => return Err(WriteError::Lost),
        }
        Ok(())
    }

    fn ended(&mut self, ending: Option<Ending>, link: Option<Link>) {
        self.phase = Phase::Ended;
        for room in self.rooms() {
            room.vacated(self.known.id);
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

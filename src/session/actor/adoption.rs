//! A guest logs in: the session becomes the user's, durably, with its seats and scores.
//!
//! The order of events: claims under way finish; the change is written; the rooms receive the new user; the guest's
//! connection closes; this actor retires, and a successor starts with the user's name and a new token.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};

use super::ending::Ending;
use super::state::{Phase, Session};
use crate::clock::HubTime;
use crate::id::{RoomCode, RoomId, SessionId, SessionToken};
use crate::mailbox::answer;
use crate::persistence::{
    AdoptSession, Committed, IdempotencyRecord, Refused, SessionCommand, SessionNews, UserWrite,
    Write, WriteError,
};
use crate::room::{HeldSeat, SessionTold};
use crate::session::message::SessionMessage;
use crate::session::registry::{SessionContext, SessionSeed};
use crate::supervisor::ShardMessage;
use crate::wire::{Close, Refusal, UserView};

/// Wait before the database is asked again for the session's user.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The new user of a guest's session.
#[derive(Debug, Clone)]
pub(crate) struct Adoption {
    pub(crate) user: UserView,
    pub(crate) user_write: UserWrite,
    /// The session's only token from then on.
    pub(crate) token: SessionToken,
    pub(crate) expires_at: HubTime,
    pub(crate) login_until: Option<HubTime>,
    /// The idempotency key of the request.
    pub(crate) once: Option<Arc<IdempotencyRecord>>,
}

/// An adoption whose caller waits for the answer.
#[derive(Debug)]
pub(crate) struct Adopting {
    adoption: Adoption,
    reply: RpcReplyPort<Result<Box<SessionSeed>, Refusal>>,
}

impl Adopting {
    pub(crate) fn refuse(self, refusal: Refusal) {
        answer(self.reply, Err(refusal));
    }
}

/// The completion of an adoption's write. It outlives the session's actor: if that fails, the rooms must still receive
/// the new user.
struct Writing {
    context: Arc<SessionContext>,
    session: SessionId,
    user: UserView,
    /// The rooms in which the session sits.
    rooms: Vec<(RoomId, RoomCode)>,
    me: ActorRef<SessionMessage>,
}

impl Writing {
    fn settled(mut self, result: Result<Committed, WriteError>) {
        match (result, tokio::runtime::Handle::try_current()) {
            (Ok(Committed::Adopted { name, told }), _) => {
                self.user.name = name;
                self.adopted(told);
            }
            // No other outcome belongs to this command.
            (Ok(_), _) => self.answer(Err(Refused::Internal)),
            (Err(WriteError::Refused(refused)), _) => self.answer(Err(refused)),
            (Err(WriteError::Lost), Ok(runtime)) => {
                runtime.spawn(self.find_out());
            }
            // The process is ending, and the next one reads the stored state.
            (Err(WriteError::Lost), Err(_)) => {}
        }
    }

    async fn find_out(mut self) {
        let stored = loop {
            match self.context.persistence.session_truth(self.session).await {
                Ok(stored) => break stored,
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
            }
        };
        match stored.filter(|stored| stored.user == self.user.id) {
            Some(stored) => {
                self.user.name = stored.user_name;
                self.tell(|_| SessionTold::Unknown);
                self.answer(Ok(()));
            }
            None => self.answer(Err(Refused::Unavailable {
                retry_after: RETRY_DELAY,
            })),
        }
    }

    /// Passes the new user to the rooms, with the events that the commit added to their durable streams.
    fn adopted(self, mut told: Vec<SessionNews>) {
        self.tell(|room| SessionTold::take(&mut told, room));
        self.answer(Ok(()));
    }

    fn tell(&self, mut told: impl FnMut(RoomId) -> SessionTold) {
        for (id, code) in &self.rooms {
            let rooms = &self.context.rooms;
            rooms.adopted(*code, self.session, self.user.clone(), told(*id));
        }
    }

    fn answer(self, result: Result<(), Refused>) {
        let result = result.map(|()| self.user);
        // On an error the session has failed; its successor has read its user from the database.
        let _ = self.me.cast(SessionMessage::AdoptionSettled(result));
    }
}

impl Session {
    pub(crate) fn adopt(
        &mut self,
        adoption: Adoption,
        reply: RpcReplyPort<Result<Box<SessionSeed>, Refusal>>,
    ) {
        self.end(Ending::Adoption(Box::new(Adopting { adoption, reply })));
    }

    /// Writes an adoption. Its outcome comes back as `AdoptionSettled`.
    pub(crate) fn write_adoption(&self, adopting: &Adopting) {
        let session = self.known.id;
        let adoption = &adopting.adoption;
        let command = AdoptSession {
            session,
            guest: self.known.user.id.clone(),
            user: adoption.user_write.clone(),
            token: adoption.token.hash(),
            expires_at: adoption.expires_at,
            login_until: adoption.login_until,
            told_in: self.durable_rooms(),
        };
        let writing = Writing {
            context: Arc::clone(&self.context),
            session,
            user: adoption.user.clone(),
            rooms: self.seated_in(),
            me: self.me.clone(),
        };
        let write = Write::once(
            SessionCommand::Adopt(Box::new(command)),
            adoption.once.clone(),
        );
        self.context
            .persistence
            .write_then(write, move |result| writing.settled(result));
    }

    pub(crate) fn adoption_settled(&mut self, result: Result<UserView, Refused>) {
        let (ending, link) = self.take_ending();
        let adopting = match ending {
            Some(Ending::Adoption(adopting)) => adopting,
            other @ (Some(Ending::End { .. }) | None) => {
                self.ending = other;
                self.phase = Phase::Ending(link);
                return;
            }
        };
        let user = match result {
            Ok(user) => user,
            Err(refused) => return self.goes_on(Ending::Adoption(adopting), &refused, link),
        };
        if let Some(link) = link {
            link.cut(Close::Replaced);
        }
        // Also if the connection dropped during the write: the rooms have not received that.
        for room in self.rooms() {
            room.away(self.known.id, self.epoch);
        }
        let now = self.now();
        let seats = self.seats.iter().map(|seat| HeldSeat {
            tokens: seat.tokens.hand_over(),
            hold_until: seat.hold_until.or(Some(now.plus(seat.grace))),
            ..seat.clone()
        });
        let seed = SessionSeed {
            id: self.known.id,
            user,
            tokens: vec![adopting.adoption.token.hash()],
            expires_at: adopting.adoption.expires_at,
            login_until: adopting.adoption.login_until,
            seats: seats.collect(),
            is_rebuilt: false,
        };
        self.phase = Phase::Retired;
        let key = self.known.id;
        self.tell_shard(ShardMessage::Goes { key });
        answer(adopting.reply, Ok(Box::new(seed)));
    }
}

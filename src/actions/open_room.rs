//! Opening a room: room, player, seat and session are written in one commit, under a random code.
//!
//! Then the room and the session are started from the same values. If the outcome of the commit is unknown, the room is
//! loaded from the database: a room that exists must be live, so that its hold ends.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::extend_hold::check_hold;
use super::idempotency::IdempotentRequest;
use super::new_session::NewSessionDraft;
use super::player::{Actions, Caller, is_code_taken, unanswered};
use crate::clock::HubTime;
use crate::id::{CommandKey, RoomCode, RoomId};
use crate::persistence::{
    Committed, NewRoom, NewSeat, OpenRoom, RoomCommand, SessionWrite, StoredRoom, StoredSeat,
    StoredStream, UserWrite, Write, WriteError,
};
use crate::room::{
    AttachSeq, HeldSeat, Kind, RoomKey, SeatEvent, channel, new_epoch, opened_news, opened_view,
    refusal,
};
use crate::session::ClaimTicket;
use crate::token::Generations;
use crate::wire::{Joined, KeyedResponse, OpenRoomRequest, Reason, Refusal, SessionView, UserView};

/// Codes to try before giving up. With a million live rooms one in 700 codes is taken, so eight in a row are taken once
/// in 10^22 openings.
const CODES_TRIED_MAX: usize = 8;

/// The room to open, without its code.
struct Plan {
    kind: Arc<Kind>,
    settings: Arc<str>,
    grace: Duration,
    seat: u16,
    user: UserView,
    user_write: UserWrite,
    session: SessionView,
    session_write: SessionWrite,
    epoch: AttachSeq,
    is_attached: bool,
    keyed: Option<IdempotentRequest>,
}

/// A room under one random code, ready to be written.
struct Draft {
    write: Write,
    stored: StoredRoom,
    /// The first player's seat, for its session.
    holding: HeldSeat,
    answer: Joined,
}

impl Actions {
    /// Opens a room and seats its first player: room, player, seat and session in one commit.
    pub async fn open_room(
        &self,
        caller: Caller,
        request: OpenRoomRequest,
        key: Option<CommandKey>,
    ) -> Result<Joined, Refusal> {
        let keyed = IdempotentRequest::new(&caller, key, "room.open", &request)?;
        self.once(keyed, async |keyed| {
            self.count_change(caller.session())?;
            self.open(caller, request, keyed).await
        })
        .await
    }

    pub(super) async fn open(
        &self,
        caller: Caller,
        request: OpenRoomRequest,
        keyed: Option<IdempotentRequest>,
    ) -> Result<Joined, Refusal> {
        self.check_open()?;
        let kind = Arc::clone(self.rooms.kinds().for_room(request.kind.as_deref())?);
        let seat = *kind
            .wanted(request.seat, request.team.as_deref())?
            .first()
            .ok_or_else(|| Refusal::new(Reason::SeatNotFound, "the team has no seats"))?;
        let grace = self.grace(&kind, &request)?;
        let settings = request.settings.unwrap_or_else(|| "{}".into());
        self.count_newcomer()?;
        match self.fresh(caller) {
            Ok(fresh) => {
                let plan = Plan {
                    kind,
                    settings,
                    grace,
                    seat,
                    user: fresh.user.clone(),
                    user_write: fresh.user_write.clone(),
                    session: fresh.view(),
                    session_write: SessionWrite::New(fresh.row()),
                    epoch: AttachSeq(0),
                    is_attached: false,
                    keyed,
                };
                self.open_fresh(plan, fresh).await
            }
            Err(session) => {
                let ticket = self.ticket(&session, None).await?;
                let plan = Plan {
                    kind,
                    settings,
                    grace,
                    seat,
                    user: session.user().clone(),
                    user_write: UserWrite::Known(session.user().id.clone()),
                    session: SessionView {
                        id: session.id(),
                        token: None,
                        expires_at: ticket.expires_at,
                    },
                    session_write: SessionWrite::Known(session.id()),
                    epoch: ticket.epoch,
                    is_attached: ticket.is_attached,
                    keyed,
                };
                self.open_known(plan, ticket).await
            }
        }
    }

    /// Returns the hold of a new room: the requested one, or its kind's.
    fn grace(&self, kind: &Kind, request: &OpenRoomRequest) -> Result<Duration, Refusal> {
        let Some(asked) = request.grace else {
            return Ok(kind.config.grace);
        };
        let (most, key) = match request.is_by_game {
            true => (self.hold_max(), "session.ttl".to_owned()),
            false => (
                kind.config.grace_max,
                format!("kind.{}.grace_max", kind.name),
            ),
        };
        check_hold("grace", asked, most, &key)?;
        Ok(asked)
    }

    async fn open_fresh(&self, plan: Plan, fresh: NewSessionDraft) -> Result<Joined, Refusal> {
        let draft = self.commit_room(&plan).await?;
        let mut answer = draft.answer;
        self.sign(
            &answer.session,
            &answer.user,
            &mut answer.seat,
            &draft.holding,
        );
        let seed = fresh.seed(answer.user.clone(), vec![draft.holding]);
        let started = self.sessions.start(seed).await;
        // Also if the player's session failed to start: the hold must end.
        self.start_room(&plan, draft.stored).await?;
        started.map_err(unanswered)?;
        Ok(answer)
    }

    async fn open_known(&self, plan: Plan, ticket: ClaimTicket) -> Result<Joined, Refusal> {
        let draft = self.commit_room(&plan).await?;
        self.start_room(&plan, draft.stored).await?;
        let mut answer = draft.answer;
        self.sign(
            &answer.session,
            &answer.user,
            &mut answer.seat,
            &draft.holding,
        );
        let news = SeatEvent::Gained {
            seat: draft.holding,
            epoch: plan.epoch,
        };
        self.sessions.hear(plan.session.id, news);
        // The session must receive the seat before the end of the claim.
        drop(ticket);
        Ok(answer)
    }

    /// Writes the room under a free code.
    async fn commit_room(&self, plan: &Plan) -> Result<Draft, Refusal> {
        for _ in 0..CODES_TRIED_MAX {
            let mut draft = plan.draw(self.now());
            match self.persistence.write(draft.write.clone()).await {
                Ok(committed) => {
                    let (Committed::Player { name, .. }, _) = committed.apart() else {
                        return Err(Refusal::unavailable());
                    };
                    draft.rename_user(&name);
                    return Ok(draft);
                }
                Err(error) if is_code_taken(&error) => debug!("room code taken, drawing another"),
                Err(WriteError::Lost) => return self.find_room(draft).await,
                Err(WriteError::Refused(refused)) => return Err(refusal(&refused)),
            }
        }
        Err(Refusal::unavailable())
    }

    /// Resolves a commit whose outcome is unknown. If the room was committed, it is started, now or later: its hold
    /// must end, whatever the caller receives.
    async fn find_room(&self, mut draft: Draft) -> Result<Draft, Refusal> {
        let key = RoomKey::Code(draft.stored.code);
        // Also for a row that cannot be read: the room may be stored.
        let room = self.rooms.rebuild(&key).await.ok().flatten();
        let room = room.ok_or_else(Refusal::unavailable)?;
        let view = room.view().await.map_err(|_| Refusal::unavailable())?;
        // The code may belong to another room.
        if view.id != draft.stored.id {
            return Err(Refusal::unavailable());
        }
        let user = &draft.answer.user.id;
        let mut seated = view.seats.into_iter().filter_map(|seat| seat.user);
        if let Some(stored) = seated.find(|stored| stored.id == *user) {
            draft.rename_user(&stored.name);
        }
        Ok(draft)
    }

    async fn start_room(&self, plan: &Plan, stored: StoredRoom) -> Result<(), Refusal> {
        self.rooms
            .start_opened(&plan.kind, stored, plan.epoch)
            .await
            .map(|_| ())
            .map_err(unanswered)
    }
}

impl Plan {
    /// Returns the room under a new random code.
    fn draw(&self, now: HubTime) -> Draft {
        let (grace, tokens) = (self.grace, Generations::begin(now));
        let hold_until = (!self.is_attached).then(|| now.plus(grace));
        let seat = NewSeat {
            number: self.seat,
            team: self.kind.team(self.seat),
            hold_until,
            tokens,
        };
        let room = NewRoom {
            id: RoomId::new(),
            code: RoomCode::random(),
            kind: Arc::clone(&self.kind.name),
            settings: Arc::clone(&self.settings),
            grace,
            stream_epoch: new_epoch(),
        };
        let mut stored = self.stored(&room, &seat);
        let mut room = room;
        if !self.kind.config.history_durable {
            // The row of a memory stream has no epoch until a planned stop writes the stream.
            room.stream_epoch = "".into();
        }
        let command = RoomCommand::Open(Box::new(OpenRoom {
            room,
            user: self.user_write.clone(),
            session: self.session_write.clone(),
            seat,
            cost: self.kind.config.cost,
        }));
        let holding = self.holding(&stored, hold_until, tokens);
        let answer = Joined {
            room: opened_view(&self.kind, &stored),
            seat: Some(holding.view(now)),
            session: self.session.clone(),
            user: self.user.clone(),
        };
        let once = self.keyed.as_ref().map(|keyed| keyed.answered(&answer));
        let news = opened_news(&self.kind, &stored, now);
        if let Some(news) = &news {
            // The state after the commit.
            stored.stream.top = news.events.len() as u64;
            stored.stream.is_durable = true;
        }
        let news = news.map(Box::new);
        Draft {
            write: Write {
                news,
                ..Write::once(command, once)
            },
            stored,
            holding,
            answer,
        }
    }

    /// Returns the room in its state after the commit, without its room events.
    fn stored(&self, room: &NewRoom, seat: &NewSeat) -> StoredRoom {
        StoredRoom {
            id: room.id,
            code: room.code,
            kind: Arc::clone(&room.kind),
            settings: Arc::clone(&room.settings),
            grace: room.grace,
            current_game_id: None,
            stream: StoredStream {
                epoch: Arc::clone(&room.stream_epoch),
                top: 0,
                is_continued: true,
                is_durable: false,
                publications: Vec::new(),
            },
            is_closed: false,
            seats: vec![StoredSeat {
                room: room.id,
                code: room.code,
                kind: Arc::clone(&room.kind),
                number: seat.number,
                team: seat.team.clone(),
                session: self.session.id,
                user: self.user.id.clone(),
                user_name: Arc::clone(&self.user.name),
                grace: room.grace,
                hold_until: seat.hold_until,
                tokens: seat.tokens,
            }],
        }
    }

    fn holding(
        &self,
        stored: &StoredRoom,
        hold_until: Option<HubTime>,
        tokens: Generations,
    ) -> HeldSeat {
        HeldSeat {
            room: stored.id,
            code: stored.code,
            channel: channel(&self.kind.name, stored.code),
            number: self.seat,
            team: self.kind.team(self.seat),
            grace: stored.grace,
            hold_until,
            tokens,
        }
    }
}

impl Draft {
    /// Sets the player's name to the stored one.
    fn rename_user(&mut self, name: &Arc<str>) {
        self.answer.rename_user(name);
        for seat in &mut self.stored.seats {
            seat.user_name = Arc::clone(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::tests::actions;
    use crate::id::{SessionId, UserId};
    use crate::session::tests::supervisor;
    use crate::supervisor::SHARDS;

    #[tokio::test]
    async fn an_unknown_outcome_is_not_settled_by_another_room_with_the_same_code() {
        let folder = tempfile::tempdir().unwrap();
        let actions = actions(folder.path()).await;
        let hub = supervisor().await;
        for shard in 0..SHARDS {
            let started = actions.rooms.start_shard(shard, hub.clone()).await;
            started.unwrap();
        }
        let (user, session) = (UserId::guest(), SessionId::new());
        let plan = Plan {
            kind: Arc::clone(actions.rooms.kinds().for_room(None).unwrap()),
            settings: "{}".into(),
            grace: Duration::from_mins(5),
            seat: 0,
            user_write: UserWrite::Known(user.clone()),
            user: UserView {
                id: user,
                name: "Ana".into(),
            },
            session: SessionView {
                id: session,
                token: None,
                expires_at: actions.life(None).1,
            },
            session_write: SessionWrite::Known(session),
            epoch: AttachSeq(0),
            is_attached: false,
            keyed: None,
        };
        let (room, mut lost) = (plan.draw(actions.now()), plan.draw(actions.now()));
        lost.stored.code = room.stored.code;
        let stored = actions.start_room(&plan, room.stored.clone()).await;
        stored.unwrap();

        let refused = actions.find_room(lost).await.err().unwrap();
        let id = room.stored.id;
        let found = actions.find_room(room).await.ok().unwrap();

        assert_eq!(refused.reason, Reason::Unavailable);
        assert_eq!(found.stored.id, id);
    }
}

//! Batching: cuts commands into groups that keep the meaning of their order, and finds the arrivals, which need none.

use std::collections::HashSet;

use crate::id::{KeyHash, RoomId, SessionId, UserId};
use crate::persistence::item::Item;
use crate::persistence::statements::player_command::{self, Session};
use crate::persistence::{
    Command, RoomCommand, Scope, SeatCommand, SessionCommand, StreamCommand, UserWrite,
};

/// Returns how many of the first commands may form one group. At least one, if there is one.
///
/// A group frees before it fills, and reads known users and sessions before it creates new ones. A command begins a
/// new group if it frees what an earlier one fills, or needs what an earlier one creates. So does a second command
/// for one stream, whose offsets follow those of the first. So does a command with the idempotency key of an earlier
/// one, whose stored response it gets. A session is adopted in a group of its own, and all sessions of a user end in a
/// group of their own.
pub(crate) fn cut(items: &[Item]) -> usize {
    let mut filled: HashSet<RoomId> = HashSet::new();
    let mut users: HashSet<&UserId> = HashSet::new();
    let mut made: HashSet<SessionId> = HashSet::new();
    let mut used: HashSet<SessionId> = HashSet::new();
    let mut published: HashSet<RoomId> = HashSet::new();
    let mut keys: HashSet<(&Scope, KeyHash)> = HashSet::new();
    let entries = player_command::of(items);
    let mut entries = entries.iter().peekable();

    for (index, item) in items.iter().enumerate() {
        if let Command::Session(SessionCommand::Adopt(_) | SessionCommand::EndAll(_)) = item.command
        {
            return index.max(1);
        }
        if let Some(once) = &item.once
            && !keys.insert((&once.scope, once.key))
        {
            return index;
        }
        if let Some(news) = &item.news
            && !published.insert(news.stream.room)
        {
            return index;
        }
        let Some(entry) = entries.next_if(|entry| entry.index == index) else {
            if is_apart(&item.command, &filled, &used, &mut published) {
                return index;
            }
            continue;
        };
        let is_user_new = match entry.user {
            UserWrite::Known(id) => users.contains(id),
            UserWrite::Guest { .. } | UserWrite::Account { .. } => false,
        };
        let is_session_new = match entry.session {
            Session::Known(id) => made.contains(&id),
            Session::New(_) => false,
        };
        let is_seat_new = entry
            .taken
            .is_some_and(|taken| filled.contains(&taken.room));
        if is_user_new || is_session_new || is_seat_new {
            return index;
        }
        match entry.user {
            UserWrite::Known(_) => {}
            UserWrite::Guest { id, .. } | UserWrite::Account { id, .. } => {
                users.insert(id);
            }
        }
        if let Session::New(session) = entry.session {
            made.insert(session.id);
        }
        used.insert(entry.session.id());
        if let Some((room, _)) = entry.seat {
            filled.insert(room);
        }
        if let Some(taken) = entry.taken {
            filled.insert(taken.room);
            used.insert(taken.from);
        }
    }
    items.len()
}

/// Returns the user of an arrival: a command that creates a session, perhaps with a room and a seat in it. Of all
/// that exists it changes at most its user's name.
pub(crate) fn arrival(command: &Command) -> Option<&UserId> {
    let entry = player_command::entry(0, command)?;
    let is_alone = entry.taken.is_none() && entry.room.is_some() == entry.seat.is_some();
    let is_arrival = is_alone && entry.cost == 0 && matches!(entry.session, Session::New(_));
    is_arrival.then(|| entry.user.id())
}

/// Returns whether a command without a player must wait for those before it.
fn is_apart(
    command: &Command,
    filled: &HashSet<RoomId>,
    used: &HashSet<SessionId>,
    published: &mut HashSet<RoomId>,
) -> bool {
    match command {
        Command::Seat(SeatCommand::Release(release)) => filled.contains(&release.room),
        Command::Seat(SeatCommand::Hold(hold)) => filled.contains(&hold.room),
        Command::Seat(SeatCommand::EndTokens(end)) => filled.contains(&end.room),
        Command::Room(RoomCommand::Close(room)) => filled.contains(room),
        Command::Session(SessionCommand::End(end)) => {
            let mut told = end.told_in.iter();
            used.contains(&end.session) || told.any(|room| !published.insert(*room))
        }
        Command::Stream(StreamCommand::Publish(publish)) => !published.insert(publish.stream.room),
        Command::Seat(SeatCommand::Claim(_) | SeatCommand::TakeOver(_))
        | Command::Room(RoomCommand::Open(_))
        | Command::Session(
            SessionCommand::Open(_)
            | SessionCommand::Adopt(_)
            | SessionCommand::EndAll(_)
            | SessionCommand::AddToken(_),
        )
        | Command::Stream(StreamCommand::RemoveHistory(_))
        | Command::Maintenance(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::clock::HubTime;
    use crate::persistence::{
        ClaimSeat, ConfirmToken, EndSession, EndSessions, NewSeat, NewSession, News, OpenSession,
        ReleaseSeat, SessionWrite, StreamId,
    };
    use crate::token::Generations;

    fn item(command: Command) -> Item {
        Item {
            number: 0,
            command,
            once: None,
            news: None,
            deadline: Instant::now() + Duration::from_secs(4),
        }
    }

    fn claim(room: RoomId, session: SessionId) -> Item {
        item(Command::Seat(SeatCommand::Claim(Box::new(ClaimSeat {
            room,
            user: UserWrite::Known(UserId::guest()),
            session: SessionWrite::Known(session),
            seat: NewSeat {
                number: 0,
                team: None,
                hold_until: None,
                tokens: Generations::begin(HubTime(0)),
            },
            cost: 0,
        }))))
    }

    fn release(room: RoomId, session: SessionId) -> Item {
        item(Command::Seat(SeatCommand::Release(ReleaseSeat {
            room,
            seat: 0,
            session,
            hold_until: None,
        })))
    }

    fn end_of(session: SessionId, told_in: &[RoomId]) -> Item {
        item(Command::Session(SessionCommand::End(EndSession {
            session,
            told_in: told_in.to_vec(),
        })))
    }

    #[tokio::test]
    async fn what_goes_into_one_stream_goes_in_one_group_after_the_other() {
        let (room, other) = (RoomId::new(), RoomId::new());
        let told = |room| {
            let mut item = claim(room, SessionId::new());
            item.news = Some(Box::new(News {
                stream: StreamId {
                    room,
                    epoch: "e".into(),
                    begins_after: None,
                },
                events: Vec::new(),
                time: HubTime(0),
            }));
            item
        };
        let end = |rooms: &[RoomId]| end_of(SessionId::new(), rooms);

        assert_eq!(cut(&[told(room), told(other)]), 2);
        assert_eq!(cut(&[told(room), told(room)]), 1);
        assert_eq!(cut(&[told(room), end(&[other]), end(&[room])]), 2);
        assert_eq!(cut(&[end(&[other, room]), told(other)]), 1);
        assert_eq!(cut(&[end(&[room]), end(&[room])]), 1);
        assert_eq!(cut(&[end(&[]), told(room), end(&[])]), 3);
    }

    #[tokio::test]
    async fn a_release_after_a_claim_in_the_same_room_waits_for_the_next_group() {
        let (room, session) = (RoomId::new(), SessionId::new());

        assert_eq!(cut(&[claim(room, session), release(room, session)]), 1);
        assert_eq!(cut(&[release(room, session), claim(room, session)]), 2);
        assert_eq!(
            cut(&[claim(room, session), release(RoomId::new(), session)]),
            2
        );
    }

    #[tokio::test]
    async fn a_session_is_not_ended_before_its_claim() {
        let session = SessionId::new();
        let end = end_of(session, &[]);

        assert_eq!(cut(&[claim(RoomId::new(), session), end]), 1);
    }

    #[tokio::test]
    async fn all_sessions_of_a_user_end_in_a_group_of_their_own() {
        let end_all = || {
            item(Command::Session(SessionCommand::EndAll(EndSessions {
                user: UserId::guest(),
            })))
        };
        let claim = || claim(RoomId::new(), SessionId::new());

        assert_eq!(cut(&[end_all(), claim()]), 1);
        assert_eq!(cut(&[claim(), end_all(), claim()]), 1);
        assert_eq!(cut(&[end_all(), end_all()]), 1);
    }

    #[tokio::test]
    async fn a_seat_is_taken_over_after_what_was_done_to_it_and_before_what_is_done_next() {
        let (room, from) = (RoomId::new(), SessionId::new());
        let take = || {
            item(Command::Seat(SeatCommand::TakeOver(Box::new(
                ConfirmToken {
                    room,
                    seat: 0,
                    user: UserWrite::Known(UserId::guest()),
                    from,
                    session: NewSession {
                        id: SessionId::new(),
                        token: None,
                        expires_at: HubTime(0),
                        login_until: None,
                    },
                    hold_until: HubTime(0),
                    tokens: Generations::begin(HubTime(0)),
                },
            ))))
        };
        let end = || end_of(from, &[]);

        assert_eq!(cut(&[claim(room, from), take()]), 1);
        assert_eq!(cut(&[take(), take()]), 1);
        assert_eq!(cut(&[take(), end()]), 1);
        assert_eq!(cut(&[end(), take()]), 2);
        assert_eq!(cut(&[take(), release(room, from)]), 1);
    }

    #[tokio::test]
    async fn a_user_is_known_only_after_the_group_that_makes_it() {
        let id = UserId::guest();
        let open = |user| {
            item(Command::Session(SessionCommand::Open(OpenSession {
                user,
                session: NewSession {
                    id: SessionId::new(),
                    token: None,
                    expires_at: HubTime(0),
                    login_until: None,
                },
            })))
        };
        let guest = UserWrite::Guest {
            id: id.clone(),
            name: "Ana".into(),
        };

        assert_eq!(cut(&[open(guest), open(UserWrite::Known(id))]), 1);
    }
}

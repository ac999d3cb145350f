//! Write lanes: a connection and a writer task each.
//!
//! Commands that concern existing rows go through the first lane, in order of arrival. A new player creates rows that
//! nobody can name before the answer is given, so the order of arrivals does not matter. On PostgreSQL, where each
//! connection uses one core, arrivals go through additional lanes: a storm of them delays no seat and no publication.
//! SQLite writes through one connection at a time, so it has one lane.

use std::sync::Arc;

use parking_lot::Mutex;
use sea_orm::{DatabaseConnection, DbBackend};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::commit::Writer;
use crate::persistence::Write;
use crate::persistence::database::address::Address;
use crate::persistence::database::server::LANES_MAX;
use crate::supervisor::share_of;

/// The state of a lane, which outlives its writer task.
pub(crate) struct Lane {
    /// Held by the one writer task while it runs, so the next one begins when it has ended.
    pub(crate) writer: Arc<tokio::sync::Mutex<Writer>>,
    /// The group whose outcome is not known yet.
    pub(crate) in_flight: Mutex<Option<Uuid>>,
}

impl Lane {
    pub(crate) fn new(
        address: Address,
        connection: DatabaseConnection,
        broken: CancellationToken,
    ) -> Lane {
        let writer = Writer::new(address, connection, broken);
        Lane {
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            in_flight: Mutex::new(None),
        }
    }
}

/// Returns how many lanes a database has.
pub(crate) fn count(backend: DbBackend) -> usize {
    if backend == DbBackend::Postgres {
        LANES_MAX
    } else {
        1
    }
}

/// Returns the lane of a command, counted from 0.
pub(crate) fn of(write: &Write, lanes: usize) -> usize {
    // An idempotency key may have been used for another command.
    let arrival = match write.once {
        Some(_) => None,
        None => super::batching::arrival(&write.command),
    };
    match arrival {
        // Two arrivals of one user stay in order, and never wait for each other's rows.
        Some(user) if lanes > 1 => 1 + share_of(user, lanes - 1),
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::HubTime;
    use crate::id::{CommandKey, RoomCode, RoomId, SessionId, UserId};
    use crate::persistence::{
        ClaimSeat, Command, IdempotencyRecord, NewRoom, NewSeat, NewSession, OpenRoom, RoomCommand,
        Scope, SeatCommand, SessionWrite, UserWrite,
    };
    use crate::token::Generations;

    const LANES: usize = LANES_MAX;

    fn user(id: UserId) -> UserWrite {
        UserWrite::Account { id, name: None }
    }

    fn new_session() -> SessionWrite {
        SessionWrite::New(NewSession {
            id: SessionId::new(),
            token: None,
            expires_at: HubTime(0),
            login_until: None,
        })
    }

    fn seat() -> NewSeat {
        NewSeat {
            number: 0,
            team: None,
            hold_until: None,
            tokens: Generations::begin(HubTime(0)),
        }
    }

    fn opens(id: UserId, session: SessionWrite, cost: i64) -> Write {
        Command::Room(RoomCommand::Open(Box::new(OpenRoom {
            room: NewRoom {
                id: RoomId::new(),
                code: RoomCode::random(),
                kind: "table".into(),
                settings: "{}".into(),
                grace: Duration::ZERO,
                stream_epoch: "e".into(),
            },
            user: user(id),
            session,
            seat: seat(),
            cost,
        })))
        .into()
    }

    #[test]
    fn all_arrivals_of_a_user_go_through_one_lane_and_those_of_many_through_all() {
        let lane = |id: &UserId| of(&opens(id.clone(), new_session(), 0), LANES);
        let mut used: Vec<usize> = (0..64)
            .map(|_| {
                let id = UserId::guest();
                assert_eq!(lane(&id), lane(&id));
                lane(&id)
            })
            .collect();

        used.sort_unstable();
        used.dedup();
        assert_eq!(used, (1..LANES).collect::<Vec<_>>());
    }

    #[test]
    fn what_concerns_anything_that_exists_goes_through_the_first_lane() {
        let known = SessionWrite::Known(SessionId::new());
        let claim = Command::Seat(SeatCommand::Claim(Box::new(ClaimSeat {
            room: RoomId::new(),
            user: user(UserId::guest()),
            session: new_session(),
            seat: seat(),
            cost: 0,
        })));

        assert_eq!(of(&opens(UserId::guest(), known, 0), LANES), 0);
        assert_eq!(of(&opens(UserId::guest(), new_session(), 1), LANES), 0);
        assert_eq!(of(&claim.into(), LANES), 0);
    }

    #[test]
    fn what_has_a_key_goes_through_the_lane_of_whatever_else_may_have_it() {
        let arrival = opens(UserId::guest(), new_session(), 0);
        let once = IdempotencyRecord {
            scope: Scope::Guest,
            key: CommandKey::parse("move-17").unwrap().hash(),
            content: [0; 32],
            answer: None,
        };

        assert_eq!(
            of(&Write::once(arrival.command, Some(Arc::new(once))), LANES),
            0
        );
    }

    #[test]
    fn a_single_lane_takes_everything() {
        assert_eq!(of(&opens(UserId::guest(), new_session(), 0), 1), 0);
    }
}

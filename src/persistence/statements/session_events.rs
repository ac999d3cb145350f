//! Events for durable streams about the seats of a session that has ended or has become another user's.

use sea_orm::{DatabaseTransaction, DbErr, QueryResult};
use uuid::Uuid;

use crate::clock::HubTime;
use crate::id::{RoomId, SessionId, UserId};
use crate::persistence::database::rows::{Columns, Rows, Type};
use crate::persistence::{NewPublication, StreamId};
use crate::wire::{ReleaseReason, RoomEvent, SeatEventBody, UserView};

const SEAT: Columns = &[
    ("room_id", Type::Uuid),
    ("session_id", Type::Uuid),
    ("seat", Type::Int),
    ("team", Type::TextOrNull),
    ("user_id", Type::Text),
];

/// An event about a changed session, for the stream of one of its rooms.
pub(super) struct Told {
    /// The place in the group of the command that changes the session.
    pub(super) index: usize,
    pub(super) stream: StreamId,
    pub(super) publication: NewPublication,
}

/// A command that ends a session or gives it to another user.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    /// Its place in the group.
    pub(super) index: usize,
    pub(super) session: SessionId,
    pub(super) change: SessionChange,
}

/// How a session changes, for those who sit in its rooms.
#[derive(Debug, Clone, Copy)]
pub(super) enum SessionChange {
    Ended,
    /// It belongs to another user.
    Adopted,
}

impl SessionChange {
    fn event(self, seat: SeatEventBody) -> RoomEvent {
        match self {
            SessionChange::Ended => RoomEvent::Released(seat.reason(ReleaseReason::SessionEnded)),
            SessionChange::Adopted => RoomEvent::Back(seat),
        }
    }
}

/// Returns the events for those seats whose rooms have durable streams. `seats` are rows of room, session, seat, team
/// and user.
pub(super) async fn of_seats(
    transaction: &DatabaseTransaction,
    askers: &[Asker],
    seats: Vec<QueryResult>,
    now: HubTime,
) -> Result<Vec<Told>, DbErr> {
    let mut rows = Rows::new(SEAT);
    for row in seats {
        rows.push([
            row.try_get_by_index::<Uuid>(0)?.into(),
            row.try_get_by_index::<Uuid>(1)?.into(),
            i64::from(row.try_get_by_index::<i32>(2)?).into(),
            row.try_get_by_index::<Option<String>>(3)?.into(),
            row.try_get_by_index::<String>(4)?.into(),
        ]);
    }
    let durable = rows
        .query(
            transaction,
            "SELECT v.room_id, v.session_id, v.seat, v.team, v.user_id, u.name, r.stream_epoch \
             FROM v JOIN rooms r ON r.id = v.room_id AND r.stream_durable \
             JOIN users u ON u.id = v.user_id",
        )
        .await?;
    let mut told = Vec::with_capacity(durable.len());
    for row in durable {
        let session: Uuid = row.try_get_by_index(1)?;
        let Some(asker) = askers.iter().find(|asker| asker.session.0 == session) else {
            continue;
        };
        let event = asker.change.event(seat(&row)?);
        told.push(Told {
            index: asker.index,
            publication: NewPublication::of_hub(&event, now),
            stream: stream(&row)?,
        });
    }
    Ok(told)
}

fn seat(row: &QueryResult) -> Result<SeatEventBody, DbErr> {
    let number: i64 = row.try_get_by_index(2)?;
    let number = u16::try_from(number).map_err(|error| DbErr::Type(error.to_string()))?;
    let team: Option<String> = row.try_get_by_index(3)?;
    let (user, name): (String, String) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
    let user = UserView {
        id: UserId::from_stored(user),
        name: name.into(),
    };
    Ok(SeatEventBody::new(number, team.map(Into::into), user))
}

fn stream(row: &QueryResult) -> Result<StreamId, DbErr> {
    let epoch: String = row.try_get_by_index(6)?;
    Ok(StreamId {
        room: RoomId(row.try_get_by_index(0)?),
        epoch: epoch.into(),
        begins_after: None,
    })
}

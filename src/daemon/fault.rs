//! Fail points for tests: compiled with the feature `faults` only, and used with `--dev` only.

use std::sync::Arc;

use super::hub::{HubHandle, Parts};
use crate::admin::{Fault, Faults};
use crate::id::{ConnectionId, SessionId};
use crate::room::RoomKey;

/// Returns the function that triggers a fail point. It returns false if there is nothing that could fail.
pub(super) fn faults(parts: &Arc<Parts>, hub: &HubHandle) -> Faults {
    let (parts, hub) = (Arc::clone(parts), hub.clone());
    Arc::new(move |fault| {
        match fault {
            Fault::Room { room } => return key(&room).is_some_and(|key| parts.rooms.panic(&key)),
            Fault::Session { session } => return parts.sessions.panic(SessionId(session)),
            Fault::Connection { connection } => {
                return parts.connections.panic(ConnectionId(connection));
            }
            Fault::RoomSupervisor { room } => {
                let key = key(&room);
                return key.is_some_and(|key| parts.rooms.panic_supervisor(&key));
            }
            Fault::SessionSupervisor { session } => {
                return parts.sessions.panic_supervisor(SessionId(session));
            }
            Fault::ConnectionSupervisor { connection } => {
                return parts.connections.panic_supervisor(ConnectionId(connection));
            }
            Fault::Persistence => parts.persistence.panic(),
            Fault::Writer => parts.persistence.panic_writer(),
            Fault::Matchmaker => parts.matchmaker.panic(),
            Fault::Hub => hub.panic(),
        }
        true
    })
}

/// Parses a room's code, or the name of an open channel.
fn key(room: &str) -> Option<RoomKey> {
    match room.contains(':') {
        true => Some(RoomKey::Channel(room.into())),
        false => room.parse().ok().map(RoomKey::Code),
    }
}

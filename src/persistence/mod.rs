//! The only door to the database.

mod command;

pub use command::{
    ClaimSeat, Command, Committed, EndSession, NewRoom, NewSeat, NewSession, OpenRoom, OpenSession,
    Refused, ReleaseSeat, SessionWrite, SoftWrite, StoredPublication, StoredRoom, StoredSeat,
    StoredSession, StoredStream, UserWrite,
};

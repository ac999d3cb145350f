//! Persistence: the only code that talks to the database.
//!
//! **Owns** the daemon lock, the connections and the write lanes: a queue, a connection and a writer task each.
//! **Writes** go from a [`Persistence`] handle through the actor into the queue of a lane. The writer commits queued
//! commands in groups, and a caller is answered after the COMMIT of its group. **Reads** use a pool of their own.
//! **Supervised by** the hub, which starts [`PersistenceActor`] again with the same [`Store`].
//! **On failure** of the actor or a writer, its unanswered commands end as [`WriteError::Lost`]: their callers then
//! read what is stored. The next writer settles the last group before it answers such a read.

mod command;
mod database;
mod handle;
mod item;
mod metric;
mod news;
mod once;
mod queries;
mod seat_key;
mod statements;
mod store;
mod stored;
mod sweep;
mod writer;

pub use command::{
    AddToken, AdoptSession, ClaimSeat, Command, Committed, ConfirmToken, EndSession, EndSessions,
    EndTokens, EndedSessions, HoldSeat, MaintenanceCommand, NewPublication, NewRoom, NewSeat,
    NewSession, OpenRoom, OpenSession, Publish, Refused, ReleaseSeat, RemoveHistory, RoomCommand,
    SeatCommand, SessionCommand, SessionWrite, SoftWrite, StreamCommand, StreamId, UserWrite,
    Write,
};
pub use database::{
    Cause, MigrationState, OpenError, ReadError, WriteError, migrate_down, migrate_status,
    migrate_up,
};
pub use handle::{Persistence, Writing};
pub use news::{News, Offsets, SessionNews};
pub use once::{IdempotencyRecord, Scope, StoredResponse};
pub use queries::{Retries, SeatedPage, SeatedRoom, StoredUser};
pub use store::Store;
pub use stored::{
    HistoryWindow, StoredPublication, StoredRoom, StoredSeat, StoredSession, StoredStream,
};
pub use sweep::{ExpiredRows, Page, RoomPage, Sweep, Swept};
pub use writer::{PersistenceActor, Startup};

//! The only door to the database.
//!
//! **Owns** the database's lock and connections, and the lanes of writing: a queue, a connection and a writer
//! task each.
//! **Supervised by** the hub, which starts [`PersistenceActor`] again with the same [`Store`].
//! **On failure** of the shell or a writer, the commands that were in their hands are told as lost: what
//! is stored is then to be read, and the next writer settles the last group before it answers a read of truth.

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
mod sweep;
mod writer;

pub use command::{
    AddToken, AdoptSession, ClaimSeat, Command, Committed, ConfirmToken, EndSession, EndTokens,
    HistoryWindow, HoldSeat, NewPublication, NewRoom, NewSeat, NewSession, OpenRoom, OpenSession,
    Publish, Refused, ReleaseSeat, RemoveHistory, SessionWrite, SoftWrite, StoredPublication,
    StoredRoom, StoredSeat, StoredSession, StoredStream, StreamId, UserWrite, Write,
};
pub use database::{
    Cause, MigrationState, OpenError, ReadError, WriteError, migrate_down, migrate_status,
    migrate_up,
};
pub use handle::{Persistence, Writing};
pub use news::{News, Offsets, SessionNews, SessionSeat, SessionWords, Words};
pub use once::{Kept, Once, Scope};
pub use queries::{Retries, SeatedPage, SeatedRoom, StoredUser};
pub use store::Store;
pub use sweep::{Litter, Page, RoomPage, Sweep, Swept};
pub use writer::{PersistenceActor, RunStart};

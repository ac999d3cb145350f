//! The only door to the database.
//!
//! **Owns** the database's lock and connections, and the lanes of writing: a queue, a connection and a writer
//! task each.
//! **Supervised by** the hub, which starts [`PersistenceActor`] again with the same [`Store`].
//! **On failure** of the shell or a writer, the commands that were in their hands are told as lost: what
//! is stored is then to be read, and the next writer settles the last group before it answers a read of truth.

mod active;
mod actor;
mod address;
mod backoff;
mod command;
mod commit;
mod condition;
mod error;
mod file_lock;
mod gather;
mod group;
mod handle;
mod job;
mod lane;
mod lock;
mod look_up;
mod mark;
mod message;
mod metric;
mod news;
mod once;
mod private;
mod progress;
mod publication;
mod queue;
mod read;
mod readers;
mod restore;
mod rows;
mod run;
mod schema;
mod seat_key;
mod server;
mod stop;
mod store;
mod survey;
mod sweep;
mod transaction;
mod writer;
mod written_out;

pub use actor::PersistenceActor;
pub use command::{
    AddToken, AdoptSession, ClaimSeat, Command, Committed, ConfirmToken, EndSession, EndTokens,
    HistoryWindow, HoldSeat, NewPublication, NewRoom, NewSeat, NewSession, OpenRoom, OpenSession,
    Publish, Refused, ReleaseSeat, RemoveHistory, SessionWrite, SoftWrite, StoredPublication,
    StoredRoom, StoredSeat, StoredSession, StoredStream, StreamId, UserWrite, Write,
};
pub use error::{Cause, OpenError, ReadError, WriteError};
pub use handle::{Persistence, Writing};
pub use look_up::Retries;
pub use news::{News, Offsets, SessionNews, SessionSeat, SessionWords, Words};
pub use once::{Kept, Once, Scope};
pub use read::StoredUser;
pub use run::RunStart;
pub use schema::{MigrationState, migrate_down, migrate_status, migrate_up};
pub use store::Store;
pub use survey::{SeatedPage, SeatedRoom};
pub use sweep::{Litter, Page, RoomPage, Sweep, Swept};

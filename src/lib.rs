//! Holdfast: a connection hub for multiplayer games that keeps the seat.
//!
//! # Overview
//!
//! Game clients connect over WebSocket with the [Centrifuge client protocol v2][protocol], in JSON or Protobuf. A
//! small HTTP API offers the same actions. A player has a *session*, identified by a token, and takes *seats* in
//! *rooms*. A message in a room is a *publication* in its stream, and every member receives it. When a connection is
//! lost, its seats turn *away*: they are kept until their hold ends, and a client that comes back with its token has
//! them again.
//!
//! Each room, session and connection is an actor, and so are persistence, the matchmaker and all supervisors. Users,
//! sessions, tokens, rooms and seats are rows in a database. A reply about a new one is sent only after its COMMIT,
//! and many changes share one transaction.
//!
//! Members and streams live in memory. A planned stop stores the streams of open rooms, and a crash loses them. A
//! *durable* stream commits each publication before it delivers it, so a crash loses nothing of it. After a restart,
//! players may connect as soon as the kept seats have been read from their rows; the actors are started in the
//! background.
//!
//! [protocol]: https://centrifugal.dev/docs/transports/client_protocol
//!
//! # Code map
//!
//! From the bottom up: a module imports only modules above it in this list, and few need all of them. `tests/tidy`
//! checks this.
//!
//! Two crates are below all of them. `crates/wire` has the messages on a socket as values, as [`wire`], and
//! identities as types, as [`id`]. `crates/bench` is the load generator, which knows a hub by its address only.
//!
//! - [`clock`]: hub time, which changes of the wall clock do not move.
//! - [`mailbox`]: requests to actors, with a limit on the wait.
//! - [`supervisor`]: how actors are started once, restarted within a budget, retired, and woken later.
//! - [`config`]: the settings as types, from file, environment and flags, and their errors.
//! - [`telemetry`]: log lines, metrics, and the banner.
//! - [`limits`]: rate limits by address and by session, shared by all listeners.
//! - [`listener`]: accepts HTTP connections for both listeners: their limits, time-outs, health and refusals.
//! - [`token`]: seat tokens: their keys, and which generation of a seat's tokens may still be used.
//! - [`delivery`]: the bounded queue of frames between a room and one socket.
//! - [`persistence`]: the only door to the database: its lock, its writers, its readers, its schema.
//! - [`auth`]: the identity of users, by signed tokens of the game's own login.
//! - [`matchmaking`]: the choice of a room for a quick match.
//! - [`room`]: the seats, the members and the stream of a room.
//! - [`session`]: a user's presence, which outlives its sockets.
//! - [`actions`]: everything that a player may do, for the socket and for HTTP alike.
//! - [`connection`]: one socket: its handshake, its commands, its heartbeat.
//! - [`http`]: the routes of the public listener: the client API, the server API, the upgrade to a socket.
//! - [`admin`]: the routes of the private listener: metrics, health, and the operators' login.
//! - [`daemon`]: builds everything in order, supervises it, and stops it in reverse.
//! - [`cli`]: the commands, and the exit code of the process.
//!
//! # Invariants
//!
//! - No actor asks upward. Requests go from connection to session to room to persistence, never back. Events go up as
//!   frames in a queue, as casts, or as supervision events. So no two actors wait for each other.
//! - No room knows a session or a socket. It has outgoing queues, and a listener for seat events.
//! - No handler of a room or a session waits for the database. It sends a change, marks it as pending, and receives
//!   the outcome as a message. An unknown outcome frees nothing.
//! - No reply about a new session, room or seat, or about the end of one, is sent before its COMMIT has returned. No
//!   such change runs in a task that ends when its client disconnects.
//! - No wait is without a limit, and no queue that a client can fill. Mailboxes have no limit of their own, so
//!   sockets ask instead of casting, with one frame in flight each.
//! - No actor of a room or a session is started or retired except by its shard. No guard of a directory leaves its
//!   file.
//! - No failure is only logged. A failed actor is rebuilt from its row within a restart budget, its clients are asked
//!   to come back, and a component that keeps failing ends the process with a reason.
//! - No seat is released because its holder is not connected. Only a leave, the end of the session or the end of the
//!   hold releases it, and a hold does not run while the daemon is down.
//! - No session token is stored, or sent a second time. The database has its SHA-256, and a log line has at most its
//!   first 10 characters. A seat token is signed each time it is sent, and stored nowhere.
//!
//! # Errors
//!
//! A rule that says no returns a *refusal*, and everything else that goes wrong is an *error*. Each type is translated
//! in one place, so a client always reads the same words for the same cause.
//!
//! | type | returned by | translated |
//! |---|---|---|
//! | `wire::Refusal` | the rules in `room`, `session` and `actions` | HTTP: `listener::Problem`; socket: `wire::Failure` |
//! | `wire::Failure` | `connection` and `room`, for commands of the protocol | written as the reply to the command |
//! | `wire::FrameError` | the decoders of `wire` | a close of the socket, in `connection::protocol` |
//! | `wire::IdError` | parsers of ids, codes and keys | BAD_REQUEST, in the parser of the request |
//! | `persistence::Refused` | a command that was not committed: definite | `wire::Refusal`, by `room::refusal` |
//! | `persistence::WriteError` | a write: refused, or its outcome is unknown | UNAVAILABLE if unknown, in `actions` |
//! | `persistence::ReadError` | every read | UNAVAILABLE, or INTERNAL if it does not pass, as `supervisor::LoadError` |
//! | `persistence::OpenError` | opening and migrating the database | the exit code, in `cli` |
//! | `persistence::Cause` | inside the two above: the driver's error without secrets | log lines only |
//! | `supervisor::LoadError` | a shard or a registry that cannot start or reach an actor | `wire::Refusal`, by `room::load_refusal` |
//! | `supervisor::BudgetExhausted` | a restart budget | the supervisor gives up: `supervisor::shard`, `daemon` |
//! | `mailbox::Unanswered` | a request to an actor | asked again once, then `supervisor::LoadError`, by the registries |
//! | `room::Contradiction` | a room whose state differs from the database | the room is rebuilt, by its shard |
//! | `token::SeatTokenError` | checking a seat token | `wire::Refusal`, by its method `refuse` |
//! | `token::KeyError` | reading the signing key | `daemon::StartError` |
//! | `auth::TokenError` | checking a login | `wire::Refusal`; on a socket a close, in `connection::protocol` |
//! | `auth::SubscriptionError` | checking a subscription token | a reply or an unsubscribe, in `connection::protocol` |
//! | `auth::FetchError` | fetching a key set | fetched again, in `auth` |
//! | `delivery::Refused` | a full or closed outgoing queue | close 3008, by `delivery` |
//! | `connection::FrameLimitExceeded` | the limits on frames of a socket | a close, in `connection::socket` |
//! | `listener::Rejected` | the limits on connections | 503 or 429 without a request, in `listener` |
//! | `config::ConfigError`, `config::Wrong` | reading the configuration | the exit code, in `cli` |
//! | `config::FolderError`, `config::PublicKeyError` | the data folder, a key in the configuration | `config::ConfigError` |
//! | `telemetry::LogError` | starting the log | `daemon::StartError` |
//! | `daemon::StartError` | starting the daemon | the exit code, in `cli` |
//! | `daemon::BeginError`, `daemon::PageError`, `daemon::StepError` | a step of start, restore or sweep | tried again, in `daemon` |
//!
//! # Life of a frame
//!
//! 1. A socket's task reads a frame, asks its connection to serve it, and reads no further until that is done.
//! 2. The connection decodes the commands of the frame and carries them out in order.
//! 3. A `publish` goes to the room of its channel. The client is subscribed to that room, or the directory has it, or
//!    its shard starts it from the rows.
//! 4. The room checks that this attachment of the session may publish.
//! 5. A memory stream accepts the publication at once. A durable stream puts it into a batch, and the next steps
//!    follow the commit of that batch.
//! 6. The room gives the publication an offset, keeps it in its history, and encodes the push once for each encoding
//!    in use.
//! 7. Every member's queue takes a reference to those bytes. A full queue closes its connection with 3008 instead,
//!    and no other member waits.
//! 8. The room queues the reply to the publisher behind the publication, and the connection goes on.
//! 9. Each member's socket task wakes, takes its whole queue, and hands it to the kernel in one write.
//!
//! A change such as `room.join` runs in a task of its own. The task announces the claim to the session and asks the
//! room, and the room writes through persistence. The reply is queued once that is committed.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod actions;
pub mod admin;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod delivery;
pub mod http;
pub mod limits;
pub mod listener;
pub mod mailbox;
pub mod matchmaking;
pub mod persistence;
pub mod room;
pub mod session;
pub mod supervisor;
pub mod telemetry;
pub mod token;

pub use holdfast_wire as wire;
pub use holdfast_wire::id;

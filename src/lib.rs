//! Holdfast: a connection hub for multiplayer games that keeps the seat.
//!
//! # Bird's eye
//!
//! Game clients connect over WebSocket and speak the Centrifuge client protocol v2 in JSON or Protobuf; they may
//! also use a small HTTP API. A player has a *session*, found by a token, and takes *seats* in *rooms*.
//! What happens in a room is a *publication* in its stream, and goes to every member. A lost line
//! turns a seat *away*: it is kept until its hold ends, and whoever comes back with the token has it.
//!
//! Each room, session and connection is an actor, and so are persistence, the matchmaker and all
//! supervisors. Users, sessions, tokens, rooms and seats are rows: a reply that tells of a new one
//! leaves after its COMMIT, and many changes share one transaction. A restart rebuilds from the rows: players come as
//! soon as it is known who sits where, and actors are started behind that.
//! Members and streams live in memory; a planned stop writes the streams of open rooms out, a
//! crash loses them. A durable stream is committed before it is heard, and a crash loses nothing of it.
//!
//! # Code map
//!
//! From the bottom up: a module imports only those above it in this list, and few need all of them.
//!
//! Two crates are below all of them. `crates/wire` has the values that travel on a socket, as [`wire`], and the names of
//! things as types, as [`id`]. `crates/bench` is the load generator, which knows a hub by its address only.
//!
//! - [`clock`]: hub time, which no change of the wall clock moves.
//! - [`mailbox`]: asking an actor, with a limit on the wait.
//! - [`supervisor`]: how actors are started once, restarted within a budget, retired and woken later.
//! - [`config`]: the settings as types, from file, environment and flags, and what is wrong with them.
//! - [`telemetry`]: log lines, metrics, and the banner.
//! - [`limits`]: rate limits by address and by session, for whatever listener a request comes through.
//! - [`listener`]: accepts HTTP connections for both listeners: their limits, time-outs, health and refusals.
//! - [`token`]: seat tokens: their keys, and which of a seat's generations may still be used.
//! - [`delivery`]: the bounded queue of frames between a room and one socket.
//! - [`persistence`]: the only door to the database: the lock, the writers, the readers, the schema.
//! - [`auth`]: who somebody is, by a signed token of the game's own login.
//! - [`matchmaking`]: which room a quick match goes to.
//! - [`room`]: who sits where, who hears what, and what was said last.
//! - [`session`]: a user's presence, which outlives its sockets.
//! - [`actions`]: everything that a player may do, for the socket and for HTTP alike.
//! - [`connection`]: one socket: its handshake, its commands, its heartbeat.
//! - [`http`]: the routes of the public listener: the client API, the server API, the upgrade to a socket.
//! - [`admin`]: the routes of the private listener: metrics, health, and the operators' login.
//! - [`daemon`]: builds everything in order, supervises it, and stops it in reverse.
//! - [`cli`]: the commands, and what the process ends with.
//!
//! # Invariants
//!
//! - No actor asks upward: connection, session, room, persistence, and never back. News goes up as
//!   frames in a queue, as casts, or as supervision events, so no two actors wait for each other.
//! - No room knows a session or a socket. It has outgoing queues, and a listener to tell of seats.
//! - No room and no session waits for the database in its handler: a change is sent, stands as pending,
//!   and its outcome comes back as a message. An outcome that is unknown frees nothing.
//! - No reply that tells of a new session, room or seat, or of the end of one, leaves before its COMMIT
//!   returned; and no such change is made in a task that its client's hang-up could end.
//! - No wait is without a limit, and no queue that a client can fill. Mailboxes have no limit of their
//!   own; sockets ask instead of casting, one frame in flight each.
//! - No actor of a room or a session is started or retired but by its shard; no guard of a directory
//!   leaves its file.
//! - No failure is only logged: what fails is rebuilt from its row within a budget, whoever it served is
//!   told to come back, and a part that keeps failing ends the process with a reason.
//! - No seat is released because nobody is connected: only a leave, the end of the session or the end of
//!   the hold does that, and a hold does not run while the daemon is down.
//! - No session token is stored or told twice: the database has its SHA-256, a log line its first 10
//!   characters at most. A seat token is signed when it is told, and stored nowhere.
//!
//! # Life of a frame
//!
//! 1. A socket's task reads a frame, asks its connection to serve it, and reads no further meanwhile.
//! 2. The connection decodes the commands of the frame and carries them out in their order.
//! 3. A `publish` goes to the room of its channel: the one subscribed to, or one looked up in the
//!    directory, or one started by its shard from the rows.
//! 4. The room checks that this attachment of the session may publish, and gives the data an offset.
//! 5. It keeps the publication in its history and encodes the push once. If the history is durable, the
//!    publication goes into a batch first, and this and what follows is done once that is committed.
//! 6. Every member's queue takes a reference to those bytes. A queue that is full closes its
//!    connection with 3008 instead, and nobody waits.
//! 7. The room queues the reply for whoever published, behind the publication, and the connection goes on.
//! 8. Each member's socket task wakes, takes its whole queue, and hands it to the kernel in one write.
//! 9. A change such as `room.join` runs in a task of its own: it takes a ticket from the session, asks
//!    the room, and the room writes through persistence; its reply is queued once that is committed.

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

//! The configuration: the settings of each component, as types.
//!
//! The sources are the defaults, one file, the environment and the flags. A later source wins, key by key, and each
//! value remembers its origin. Unknown keys and values beyond their limits are refused before anything starts.

mod error;
mod folder;
mod foreign;
mod kind;
mod load;
mod reader;
mod secret;
mod section;
mod source;
mod text;
mod validate;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

pub use error::{ConfigError, Origin, Problem, Wrong};
pub use folder::FolderError;
pub(crate) use folder::{create_private_file, make_private, own_file};
pub use load::{Flags, Loaded};
pub use reader::Setting;
pub use secret::ShortSecret;
pub use values::key_set::KeySetSource;
pub(crate) use values::page_origin::PageOrigin;
pub use values::public_key::{PublicKey, PublicKeyError};
pub use values::redact::shown_database_url;
pub use values::sqlite_path::sqlite_path;

/// The commented file with every key and its default, as `holdfast config init` writes it.
pub const SAMPLE: &str = include_str!("../../config/holdfast.toml");

/// The kind of a room that is opened without naming one.
pub const DEFAULT_KIND: &str = "table";

/// All settings. See `config/holdfast.toml` for the meaning of each key.
#[derive(Debug, Clone)]
pub struct Config {
    /// Set by `--dev`: a hub for trying things out. Guests are allowed unless the configuration forbids them.
    pub dev: bool,
    /// The folder for everything that the daemon keeps on this machine.
    pub data_dir: PathBuf,
    /// The public listener.
    pub server: ServerConfig,
    /// The private listener.
    pub admin: AdminConfig,
    /// The database and its connections.
    pub database: DatabaseConfig,
    /// Grouping and deadlines of writes.
    pub persistence: PersistenceConfig,
    /// The lifetime and the limits of sessions.
    pub session: SessionConfig,
    /// The lifetime and the keys of seat tokens.
    pub seat_token: SeatTokenConfig,
    /// The ways to log in.
    pub auth: AuthConfig,
    /// The limits and timeouts of a connection.
    pub client: ClientConfig,
    /// The rate at which connects are admitted.
    pub admission: AdmissionConfig,
    /// The memory for histories.
    pub history: HistoryConfig,
    /// The planned stop.
    pub shutdown: ShutdownConfig,
    /// The content and the format of the log.
    pub log: LogConfig,
    /// The templates of rooms, by name. `table`, `duel` and `lobby` always exist.
    pub kind: BTreeMap<String, KindConfig>,
    /// Fail points.
    pub faults: FaultsConfig,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address and port of the WebSocket and the client API. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Origins of web pages that may connect, such as `https://game.example`; `*` allows all. Pages of the requested
    /// host itself are always allowed.
    pub allowed_origins: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of open sockets. Lowered to the process's file limit at the start.
    pub connections_max: usize,
    /// Maximum number of open sockets from one address; 0 is off.
    pub connections_per_address_max: usize,
    /// New sockets per second from one address; 0 is off.
    pub connects_per_second: u32,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Address and port of metrics, health and the dashboard.
    pub listen: SocketAddr,
    /// The token of operators. `None`: the hub generates one and keeps it in the data folder. It must be set if the
    /// listener can be reached from elsewhere, or if there is no data folder.
    pub token: Option<SecretString>,
}

/// `[database]`
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `postgres://...`. A secret: it may contain a password.
    pub url: SecretString,
    /// Maximum number of connections in the read pool (PostgreSQL).
    pub connections_max: u32,
    /// Connections that the read pool keeps open (PostgreSQL). Not above `connections_max`.
    pub connections_min: u32,
    /// Limit on the wait of a read for a connection from the pool.
    pub acquire_timeout: Duration,
    /// Age at which a connection is replaced.
    pub lifetime: Duration,
    /// Time between two queries that keep a hosted database awake.
    pub keepalive: Duration,
    /// The daemon applies pending migrations at its start.
    pub migrate: bool,
}

/// `[persistence]`
#[derive(Debug, Clone)]
pub struct PersistenceConfig {
    /// Maximum number of commands in one transaction.
    pub batch_max: usize,
    /// Maximum number of commands that wait with one writer; a further one is answered UNAVAILABLE.
    pub queue_max: usize,
    /// Limit on the total time of a command, retries included. Below the 5 s that the clients' SDKs wait.
    pub deadline: Duration,
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Lifetime of a session since its last use.
    pub ttl: Duration,
    /// Maximum number of seats that one user holds, in all sessions together; 0 is off.
    pub seats_max: usize,
    /// Seats that one session may claim and release per second, with bursts of four times as many; 0 is off.
    pub changes_per_second: u32,
}

/// `[seat_token]`
#[derive(Debug, Clone)]
pub struct SeatTokenConfig {
    /// Lifetime of a token since it was signed. Whole seconds, as in the token.
    pub ttl: Duration,
    /// Key files (PEM, Ed25519): the first one signs, all of them verify. Empty: the hub uses its own key.
    pub keys: Vec<PathBuf>,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Guests may log in. True by default with `--dev`.
    pub guests: bool,
    /// Keys of game servers, sent as `X-API-Key`.
    pub api_keys: Vec<SecretString>,
    /// The secret of the game's own JWTs signed with HS256, HS384 or HS512.
    pub hmac_secret: Option<SecretString>,
    /// The previous secret: tokens signed with it stay valid until they expire.
    pub hmac_secret_previous: Option<SecretString>,
    /// Public keys of the game's own JWTs signed with RS256, ES256 or EdDSA.
    pub public_keys: Vec<PublicKey>,
    /// The place of the key set (JWKS) for the game's own JWTs.
    pub jwks_url: Option<KeySetSource>,
    /// The `aud` that a JWT must have, if set.
    pub audience: Option<String>,
    /// The `iss` that a JWT must have, if set.
    pub issuer: Option<String>,
    /// A user that is named for the first time is created.
    pub create_users: bool,
    /// Each connection is subscribed to its user's own channel.
    pub personal_channel: bool,
    /// New guests, sessions and rooms from one address per minute, with bursts of a third of that; 0 is off.
    pub newcomers_per_minute: u32,
    /// A JWT must have an expiry.
    pub require_exp: bool,
}

/// `[client]`
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Time between two pings to a client. Whole seconds, as in the reply to `connect`.
    pub ping: Duration,
    /// Time to answer a ping. Shorter than `ping`.
    pub pong_timeout: Duration,
    /// Time from the upgrade to the connect command.
    pub connect_timeout: Duration,
    /// Time to send a new token after the old one has expired.
    pub expiry_grace: Duration,
    /// Maximum size of one message from a client, in bytes.
    pub message_max: usize,
    /// Maximum size of a client's queue, in bytes; beyond it the connection is closed with 3008.
    pub queue_bytes_max: usize,
    /// Maximum number of messages in a client's queue; beyond it the connection is closed with 3008.
    pub queue_count_max: usize,
    /// Maximum number of channels that one connection is subscribed to.
    pub channels_max: usize,
    /// Commands per second of one connection, with bursts of twice as many.
    pub messages_per_second: u32,
    /// Bytes per second that one connection may publish, with bursts of four times as many.
    pub bytes_per_second: usize,
    /// Maximum number of missed publications that one recovery sends; with more the client is not recovered.
    pub recovery_max: usize,
    /// Unknown room codes that one address may try per minute.
    pub wrong_codes_per_minute: u32,
}

/// `[admission]`
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Maximum number of connects that are carried out at one time.
    pub at_once: usize,
    /// Connects that are admitted per second.
    pub per_second: u32,
    /// Maximum wait of a connect for its admission, before the client is asked to come back.
    pub wait: Duration,
}

/// `[history]`
#[derive(Debug, Clone)]
pub struct HistoryConfig {
    /// Memory for the histories of all open channels together, in bytes; beyond it the oldest publications are
    /// dropped.
    pub memory_max: usize,
}

/// `[shutdown]`
#[derive(Debug, Clone)]
pub struct ShutdownConfig {
    /// Time for the whole planned stop.
    pub timeout: Duration,
    /// Connections closed per second, so that they do not all come back at once.
    pub clients_per_second: u32,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A level, or directives such as `info,holdfast=debug`. `RUST_LOG` wins over the file.
    pub level: String,
    /// The format of the log lines, which go to standard error.
    pub format: LogFormat,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A template of rooms.
#[derive(Debug, Clone)]
pub struct KindConfig {
    /// The number of seats; 0 makes an open channel.
    pub seats: u16,
    /// Team sizes. Teams take the seats in the order of their names; together they have as many as `seats`.
    pub teams: BTreeMap<String, u16>,
    /// The hold: how long the seat of a lost connection is kept.
    pub grace: Duration,
    /// The longest hold that a player may set for a new room.
    pub grace_max: Duration,
    /// Maximum size of a client's publication, in bytes.
    pub message_max: usize,
    /// Maximum number of publications kept; 0 keeps no history.
    pub history_size: usize,
    /// Maximum size of the publications kept, in bytes.
    pub history_bytes: usize,
    /// Age at which a kept publication is dropped.
    pub history_ttl: Duration,
    /// Each publication is committed before it is acknowledged. Needs seats.
    pub history_durable: bool,
    /// Members may query presence.
    pub presence: bool,
    /// Members are notified when others join and leave.
    pub join_leave: bool,
    /// Permission to subscribe. "seated" by default; "anyone" if `seats = 0`.
    pub subscribe: Permission,
    /// Permission to publish. "seated" by default; "members" if `seats = 0`.
    pub publish: Permission,
    /// Permission to query history and presence.
    pub read: Permission,
    /// Maximum number of spectators at one time.
    pub spectators: usize,
    /// Credits that a seat costs.
    pub cost: i64,
    /// Open rooms of this kind may be listed.
    pub listed: bool,
    /// How long a room without a taken seat stays open.
    pub empty_ttl: Duration,
    /// Use of the rooms in quick match.
    pub quick_match: QuickMatch,
}

/// The clients that may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Holders of a seat.
    Seated,
    /// Subscribers of the room.
    Members,
    /// All users who are logged in.
    Anyone,
    /// The server API only.
    Server,
}

/// Use of a kind's rooms in quick match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuickMatch {
    /// Joins the fullest open room, else opens a new one.
    Fill,
    /// Waits until there are enough players, then opens a new room.
    Queue,
    /// Takes no part in quick match.
    Off,
}

/// Fail points. They act only in builds with the cargo feature `faults`, and only with `--dev`.
#[derive(Debug, Clone, Default)]
pub struct FaultsConfig {
    /// Delay before each COMMIT.
    pub commit_delay: Duration,
    /// Delay before each page of rooms that is started after the start of the hub.
    pub restore_delay: Duration,
}

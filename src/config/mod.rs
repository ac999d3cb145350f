//! The configuration: what each part of the daemon is given at its start.
//!
//! Defaults, then one file, then the environment, then flags: the later one wins, key by key. Each value
//! remembers where it came from. What is unknown or out of its limits is refused before anything starts.

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

/// The kind of a room that was opened without naming one.
pub const DEFAULT_KIND: &str = "table";

/// Everything that can be set. See `config/holdfast.toml` for the meaning of each key.
#[derive(Debug, Clone)]
pub struct Config {
    /// Set by `--dev`: a hub to try things with. Guests are allowed unless the configuration says otherwise.
    pub dev: bool,
    /// The folder of everything the daemon keeps on this machine.
    pub data_dir: PathBuf,
    /// The public listener.
    pub server: ServerConfig,
    /// The private listener.
    pub admin: AdminConfig,
    /// Where it is written down.
    pub database: DatabaseConfig,
    /// How writes are grouped and how long they may take.
    pub persistence: PersistenceConfig,
    /// A user's presence.
    pub session: SessionConfig,
    /// Proof of seats.
    pub seat_token: SeatTokenConfig,
    /// Who may come in.
    pub auth: AuthConfig,
    /// What one connection may do, and how long the hub waits for it.
    pub client: ClientConfig,
    /// How fast connects are let in.
    pub admission: AdmissionConfig,
    /// What is kept of the streams in memory.
    pub history: HistoryConfig,
    /// A planned stop.
    pub shutdown: ShutdownConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// The templates of rooms, by name. `table`, `duel` and `lobby` always exist.
    pub kind: BTreeMap<String, KindConfig>,
    /// Test hooks.
    pub faults: FaultsConfig,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address and port of the WebSocket and the client API. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Origins of web pages that may connect, such as `https://game.example`; `*` allows all. Pages of the host that
    /// is asked always may.
    pub allowed_origins: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Sockets open at one time. Lowered to the process's file limit at the start.
    pub connections_max: usize,
    /// Sockets open at one time from one address; 0 is off.
    pub connections_per_address_max: usize,
    /// New sockets per second from one address; 0 is off.
    pub connects_per_second: u32,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Address and port of metrics, health and the dashboard.
    pub listen: SocketAddr,
    /// What an operator presents. None: one that the hub makes itself and keeps in the data folder; it must be set if
    /// the listener can be reached from elsewhere, or if there is no data folder.
    pub token: Option<SecretString>,
}

/// `[database]`
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `postgres://...`. A secret: it may hold a password.
    pub url: SecretString,
    /// Connections of the read pool at most (PostgreSQL).
    pub connections_max: u32,
    /// Connections of the read pool kept open (PostgreSQL). Not above `connections_max`.
    pub connections_min: u32,
    /// How long a read waits for a connection of the pool.
    pub acquire_timeout: Duration,
    /// Age at which a connection is replaced.
    pub lifetime: Duration,
    /// Time between two queries that keep a hosted database awake.
    pub keepalive: Duration,
    /// Whether the daemon brings the tables up to date at its start.
    pub migrate: bool,
}

/// `[persistence]`
#[derive(Debug, Clone)]
pub struct PersistenceConfig {
    /// Commands in one transaction.
    pub batch_max: usize,
    /// Commands waiting for their transaction with one writer; past it the answer is UNAVAILABLE.
    pub queue_max: usize,
    /// Time a command may take in all, retries included. Below the 5 s that the clients' SDKs wait.
    pub deadline: Duration,
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Life of a session since it was last used.
    pub ttl: Duration,
    /// Seats that one user may hold, over all its sessions; 0 is off.
    pub seats_max: usize,
    /// Seats that one session may take and give up per second, with bursts of four times as many; 0 is off.
    pub changes_per_second: u32,
}

/// `[seat_token]`
#[derive(Debug, Clone)]
pub struct SeatTokenConfig {
    /// How long a token is good after it was signed. Whole seconds: tokens count in them.
    pub ttl: Duration,
    /// Files of keys (PEM, Ed25519): the first signs, all check. Empty: the hub's own.
    pub keys: Vec<PathBuf>,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Whether a player may come in without proof. True by default with `--dev`.
    pub guests: bool,
    /// Keys of game servers, sent as `X-API-Key`.
    pub api_keys: Vec<SecretString>,
    /// Secret of the game's own JWTs signed with HS256, HS384 or HS512.
    pub hmac_secret: Option<SecretString>,
    /// The secret before it: tokens that it signed are good until they expire.
    pub hmac_secret_previous: Option<SecretString>,
    /// Public keys of the game's own JWTs signed with RS256, ES256 or EdDSA.
    pub public_keys: Vec<PublicKey>,
    /// Where the key set (JWKS) of the game's own JWTs is.
    pub jwks_url: Option<KeySetSource>,
    /// What `aud` of a JWT must say, if set.
    pub audience: Option<String>,
    /// What `iss` of a JWT must say, if set.
    pub issuer: Option<String>,
    /// Whether a user that is named for the first time is made on the spot.
    pub create_users: bool,
    /// Whether each connection is subscribed to its user's own channel.
    pub personal_channel: bool,
    /// New guests, sessions and rooms from one address per minute, with bursts of a third of that; 0 is off.
    pub newcomers_per_minute: u32,
    /// Whether a JWT must state when it expires.
    pub require_exp: bool,
}

/// `[client]`
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Time between two pings to a client. Whole seconds: clients are told it so.
    pub ping: Duration,
    /// Time to answer a ping. Shorter than `ping`.
    pub pong_timeout: Duration,
    /// Time from the upgrade to the connect command.
    pub connect_timeout: Duration,
    /// Time to bring a new token after the old one has expired.
    pub expiry_grace: Duration,
    /// Size of one message from a client, in bytes.
    pub message_max: usize,
    /// What may wait for one client, in bytes; past it the connection is closed with 3008.
    pub queue_bytes_max: usize,
    /// What may wait for one client, in messages; past it the connection is closed with 3008.
    pub queue_count_max: usize,
    /// Channels that one connection may be subscribed to.
    pub channels_max: usize,
    /// Commands per second of one connection, with bursts of twice as many.
    pub messages_per_second: u32,
    /// Bytes per second that one connection may publish, with bursts of four times as many.
    pub bytes_per_second: usize,
    /// Missed publications that one recovery sends; more are told as not recovered.
    pub recovery_max: usize,
    /// Unknown room codes that one address may try per minute.
    pub wrong_codes_per_minute: u32,
}

/// `[admission]`
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Connects carried out at one time.
    pub at_once: usize,
    /// Connects that are let in per second.
    pub per_second: u32,
    /// How long a connect waits for its turn before it is told to come back.
    pub wait: Duration,
}

/// `[history]`
#[derive(Debug, Clone)]
pub struct HistoryConfig {
    /// Memory for the histories of all open channels together, in bytes; past it the oldest publications go.
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
    /// The form of the log lines, which go to standard error.
    pub format: LogFormat,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A template of rooms.
#[derive(Debug, Clone)]
pub struct KindConfig {
    /// 0 makes an open channel.
    pub seats: u16,
    /// Team sizes. Teams take the seats in the order of their names; with teams, they add up to `seats`.
    pub teams: BTreeMap<String, u16>,
    /// The hold: time for which the seat of a lost connection is kept.
    pub grace: Duration,
    /// The longest hold that a player may open a room with.
    pub grace_max: Duration,
    /// Size of one publication of a client, in bytes.
    pub message_max: usize,
    /// Publications kept; 0 keeps no history.
    pub history_size: usize,
    /// Size of the publications kept, in bytes.
    pub history_bytes: usize,
    /// Age at which a kept publication is dropped.
    pub history_ttl: Duration,
    /// Whether each publication is committed before it is acknowledged. Needs seats.
    pub history_durable: bool,
    /// Whether members may ask who is here.
    pub presence: bool,
    /// Whether members are told who comes and goes.
    pub join_leave: bool,
    /// Who may listen. "seated" by default; "anyone" if `seats = 0`.
    pub subscribe: Permission,
    /// Who may publish. "seated" by default; "members" if `seats = 0`.
    pub publish: Permission,
    /// Who may ask for the history and for who is here.
    pub read: Permission,
    /// Sessions without a seat that may listen at one time.
    pub spectators: usize,
    /// Credits that a seat costs.
    pub cost: i64,
    /// Whether its open rooms may be listed.
    pub listed: bool,
    /// Time for which a room with no seat taken stays open.
    pub empty_ttl: Duration,
    /// What quick match does with its rooms.
    pub quick_match: QuickMatch,
}

/// Who may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Holders of a seat.
    Seated,
    /// Subscribed at this moment.
    Members,
    /// Everybody who is logged in.
    Anyone,
    /// Only the server API.
    Server,
}

/// What quick match does with the rooms of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuickMatch {
    /// Into the fullest open room, else a new one.
    Fill,
    /// Wait until enough are there, then a new room.
    Queue,
    /// Not by quick match.
    Off,
}

/// Test hooks. They act only in builds with the cargo feature `faults`, and only with `--dev`.
#[derive(Debug, Clone, Default)]
pub struct FaultsConfig {
    /// Added before each COMMIT.
    pub commit_delay: Duration,
    /// Waited before each page of rooms that is started after the start of the hub.
    pub restore_delay: Duration,
}

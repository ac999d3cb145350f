//! The configuration as types: what each part of the daemon is given at its start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

/// Everything that can be set. See `config/holdfast.toml` for the meaning of each key.
#[derive(Debug, Clone)]
pub struct Config {
    pub dev: bool,
    pub data_dir: PathBuf,
    pub server: ServerConfig,
    pub admin: AdminConfig,
    pub database: DatabaseConfig,
    pub persistence: PersistenceConfig,
    pub session: SessionConfig,
    pub auth: AuthConfig,
    pub client: ClientConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
    pub kind: BTreeMap<String, KindConfig>,
    pub faults: FaultsConfig,
}

#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub connects_per_second: u32,
}

#[derive(Debug, Clone)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    pub token: Option<SecretString>,
}

#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// A secret: it may hold a password.
    pub url: SecretString,
    pub connections_max: u32,
    pub connections_min: u32,
    pub acquire_timeout: Duration,
    pub lifetime: Duration,
    pub keepalive: Duration,
    pub migrate: bool,
}

#[derive(Debug, Clone)]
pub struct PersistenceConfig {
    pub batch_max: usize,
    pub queue_max: usize,
    pub deadline: Duration,
}

#[derive(Debug, Clone)]
pub struct SessionConfig {
    pub ttl: Duration,
}

#[derive(Debug, Clone)]
pub struct AuthConfig {
    pub guests: bool,
    pub api_keys: Vec<SecretString>,
    pub hmac_secret: Option<SecretString>,
    pub public_keys: Vec<String>,
    pub jwks_url: Option<String>,
    pub audience: Option<String>,
    pub issuer: Option<String>,
    pub create_users: bool,
    pub personal_channel: bool,
}

#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub ping: Duration,
    pub pong_timeout: Duration,
    pub connect_timeout: Duration,
    /// In bytes.
    pub message_max: usize,
    pub queue_bytes_max: usize,
    pub queue_count_max: usize,
    pub channels_max: usize,
    pub messages_per_second: u32,
    pub recovery_max: usize,
    pub wrong_codes_per_minute: u32,
}

#[derive(Debug, Clone)]
pub struct ShutdownConfig {
    pub timeout: Duration,
    pub clients_per_second: u32,
}

#[derive(Debug, Clone)]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

/// A template of rooms.
#[derive(Debug, Clone)]
pub struct KindConfig {
    /// 0 makes an open channel.
    pub seats: u16,
    /// Team sizes. Teams take the seats in the order of their names; with teams, they add up to `seats`.
    pub teams: BTreeMap<String, u16>,
    pub grace: Duration,
    /// Publications kept; 0 keeps no history.
    pub history_size: usize,
    pub history_bytes: usize,
    pub history_ttl: Duration,
    pub history_durable: bool,
    pub presence: bool,
    pub join_leave: bool,
    pub subscribe: Permission,
    pub publish: Permission,
    pub read: Permission,
    /// Sessions without a seat that may listen at one time.
    pub spectators: usize,
    /// Credits that a seat costs.
    pub cost: i64,
    pub listed: bool,
    pub empty_ttl: Duration,
    pub quick_match: QuickMatch,
}

/// Who may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Seated,
    /// Subscribed at this moment.
    Members,
    Anyone,
    /// Only the server API.
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuickMatch {
    Fill,
    Queue,
    Off,
}

/// Test hooks. They act only in builds with the cargo feature `faults`, and only with `--dev`.
#[derive(Debug, Clone, Default)]
pub struct FaultsConfig {
    /// Added before each COMMIT.
    pub commit_delay: Duration,
}

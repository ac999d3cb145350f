//! The sections, key by key, each with its default and its limits.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

use super::error::{Origin, Wrong};
use super::reader::Reader;
use super::values::key_set::KeySetSource;
use super::values::page_origin::PageOrigin;
use super::values::public_key::PublicKey;
use super::values::redact::shown_database_url;
use super::values::sqlite_path::in_url;
use super::{
    AdminConfig, AdmissionConfig, AuthConfig, ClientConfig, DatabaseConfig, FaultsConfig,
    HistoryConfig, LogConfig, LogFormat, PersistenceConfig, SeatTokenConfig, ServerConfig,
    SessionConfig, ShutdownConfig,
};

pub(super) const SECTIONS: [&str; 13] = [
    "server",
    "admin",
    "database",
    "persistence",
    "session",
    "seat_token",
    "auth",
    "client",
    "admission",
    "history",
    "shutdown",
    "log",
    "kind",
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

const ADDRESS: &str =
    "an address with a port from 0 to 65535, such as \"127.0.0.1:7450\" or \"[::1]:7450\"";

/// A day and a year: the longest that make sense for times of a process and of an account.
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn data_dir(reader: &mut Reader) -> PathBuf {
    let read = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let default = "data".to_owned();
    PathBuf::from(reader.parsed("data_dir", default, "the path of a folder", read))
}

pub(super) fn server(reader: &mut Reader) -> ServerConfig {
    ServerConfig {
        listen: address(reader, "server.listen", 7450),
        allowed_origins: reader.list(
            "server.allowed_origins",
            "a list of origins such as \"https://game.example\", without a path, \"file://\", \"null\", or \"*\"",
            origin,
        ),
        trusted_proxies: reader.list(
            "server.trusted_proxies",
            "a list of networks or addresses such as \"10.0.0.0/8\" or \"10.1.2.3\"",
            network,
        ),
        // Ten million sockets exceed the memory of any machine that runs this.
        connections_max: reader.number("server.connections_max", 100_000, 1..=10_000_000),
        // Room for a class or an office behind one address; far below the capacity of a hub.
        connections_per_address_max: reader.number(
            "server.connections_per_address_max",
            1_024,
            0..=10_000_000,
        ),
        connects_per_second: reader.number("server.connects_per_second", 200, 0..=1_000_000),
    }
}

pub(super) fn admin(reader: &mut Reader) -> AdminConfig {
    AdminConfig {
        listen: address(reader, "admin.listen", 7451),
        token: reader.secret("admin.token", "a text"),
    }
}

pub(super) fn database(reader: &mut Reader, data_dir: &Path) -> DatabaseConfig {
    let url = reader.secret_or(
        "database.url",
        "sqlite://<data_dir>/holdfast.db",
        "\"sqlite://PATH\", \"postgres://...\" or \"postgresql://...\"",
        |url| {
            let schemes = ["sqlite://", "postgres://", "postgresql://"];
            schemes.iter().any(|scheme| {
                url.strip_prefix(scheme)
                    .is_some_and(|rest| !rest.is_empty())
            })
        },
        |url| shown_database_url(&SecretString::from(url)),
    );
    // More connections than this exceed any server's limit.
    let connections_max = reader.number("database.connections_max", 30, 1..=1_000);
    // A lower limit alone must be a valid change.
    let connections_min = 20.min(connections_max);
    DatabaseConfig {
        url: SecretString::from(url.replace("<data_dir>", &in_url(data_dir))),
        connections_max,
        connections_min: reader.number("database.connections_min", connections_min, 0..=1_000),
        acquire_timeout: reader.duration(
            "database.acquire_timeout",
            secs(30),
            millis(100)..=secs(600),
        ),
        lifetime: reader.duration("database.lifetime", secs(3_600), secs(10)..=YEAR),
        keepalive: reader.duration("database.keepalive", secs(300), secs(1)..=DAY),
        migrate: reader.truth("database.migrate", true),
    }
}

pub(super) fn persistence(reader: &mut Reader) -> PersistenceConfig {
    PersistenceConfig {
        // 4096 rows of the widest table stay below the 65,535 parameters of one statement.
        batch_max: reader.number("persistence.batch_max", 512, 1..=4_096),
        queue_max: reader.number("persistence.queue_max", 8_192, 1..=1_000_000),
        deadline: reader.duration("persistence.deadline", secs(4), millis(100)..=secs(60)),
    }
}

pub(super) fn session(reader: &mut Reader) -> SessionConfig {
    SessionConfig {
        ttl: reader.duration("session.ttl", secs(7 * 86_400), secs(1)..=YEAR),
        // Each seat is a token to sign whenever its session is fetched: a thousand take 45 ms.
        seats_max: reader.number("session.seats_max", 16, 0..=1_000),
        changes_per_second: reader.number("session.changes_per_second", 5, 0..=100_000),
    }
}

pub(super) fn seat_token(reader: &mut Reader) -> SeatTokenConfig {
    SeatTokenConfig {
        ttl: reader.duration_where(
            "seat_token.ttl",
            secs(3_600),
            secs(1)..=secs(7 * 86_400),
            " in whole seconds",
            |ttl| ttl.subsec_nanos() == 0,
        ),
        keys: reader
            .list(
                "seat_token.keys",
                "a list of paths of files that hold an Ed25519 key in PEM form",
                |path| (!path.is_empty()).then(|| path.to_owned()),
            )
            .into_iter()
            .map(PathBuf::from)
            .collect(),
    }
}

pub(super) fn auth(reader: &mut Reader, is_dev: bool) -> AuthConfig {
    let guests = if is_dev { Origin::Dev } else { Origin::Default };
    let some_text = |text: &str| !text.is_empty();
    AuthConfig {
        guests: reader.truth_from("auth.guests", is_dev, guests),
        api_keys: reader.secret_list("auth.api_keys", "a list of texts, none of them empty"),
        hmac_secret: reader.secret("auth.hmac_secret", "a text"),
        hmac_secret_previous: reader.secret("auth.hmac_secret_previous", "a text"),
        public_keys: public_keys(reader),
        jwks_url: reader
            .optional("auth.jwks_url", KeySetSource::ALLOWED, |text| {
                KeySetSource::parse(text).is_some()
            })
            .and_then(|text| KeySetSource::parse(&text)),
        audience: reader.optional("auth.audience", "a text", some_text),
        issuer: reader.optional("auth.issuer", "a text", some_text),
        create_users: reader.truth("auth.create_users", true),
        personal_channel: reader.truth("auth.personal_channel", false),
        newcomers_per_minute: reader.number("auth.newcomers_per_minute", 300, 0..=1_000_000),
        require_exp: reader.truth("auth.require_exp", true),
    }
}

pub(super) fn client(reader: &mut Reader) -> ClientConfig {
    ClientConfig {
        ping: reader.duration_where(
            "client.ping",
            secs(25),
            secs(1)..=secs(3_600),
            " in whole seconds",
            |ping| ping.subsec_nanos() == 0,
        ),
        pong_timeout: reader.duration("client.pong_timeout", secs(8), millis(100)..=secs(3_600)),
        connect_timeout: reader.duration(
            "client.connect_timeout",
            secs(10),
            millis(100)..=secs(300),
        ),
        expiry_grace: reader.duration("client.expiry_grace", secs(25), secs(1)..=secs(3_600)),
        message_max: reader.size("client.message_max", 64 * KIB, KIB..=16 * MIB),
        queue_bytes_max: reader.size("client.queue_bytes_max", MIB, 16 * KIB..=1_024 * MIB),
        // At least a publication, the reply to its publisher, and the hub's own events of the same moment.
        queue_count_max: reader.number("client.queue_count_max", 512, 8..=65_536),
        channels_max: reader.number("client.channels_max", 128, 1..=10_000),
        messages_per_second: reader.number("client.messages_per_second", 100, 1..=100_000),
        bytes_per_second: reader.size("client.bytes_per_second", 64 * KIB, KIB..=1_024 * MIB),
        recovery_max: reader.number("client.recovery_max", 300, 0..=10_000),
        wrong_codes_per_minute: reader.number("client.wrong_codes_per_minute", 30, 1..=100_000),
    }
}

pub(super) fn admission(reader: &mut Reader) -> AdmissionConfig {
    AdmissionConfig {
        // A higher number would not limit anything.
        at_once: reader.number("admission.at_once", 256, 1..=100_000),
        per_second: reader.number("admission.per_second", 5_000, 1..=1_000_000),
        // Together with the time of the connect itself, it stays below the 5 s after which clients give up.
        wait: reader.duration("admission.wait", secs(2), Duration::ZERO..=secs(4)),
    }
}

pub(super) fn history(reader: &mut Reader) -> HistoryConfig {
    HistoryConfig {
        // One terabyte exceeds the memory of any machine that runs this.
        memory_max: reader.size(
            "history.memory_max",
            256 * MIB,
            64 * KIB..=1_024 * 1_024 * MIB,
        ),
    }
}

pub(super) fn shutdown(reader: &mut Reader) -> ShutdownConfig {
    ShutdownConfig {
        timeout: reader.duration("shutdown.timeout", secs(30), secs(1)..=secs(3_600)),
        clients_per_second: reader.number("shutdown.clients_per_second", 1_000, 1..=1_000_000),
    }
}

pub(super) fn log(reader: &mut Reader) -> LogConfig {
    const LEVELS: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or directives \
                          such as \"info,holdfast=debug\"";
    let words = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
    ];
    LogConfig {
        level: reader.parsed("log.level", "info".to_owned(), LEVELS, level),
        format: reader.word("log.format", LogFormat::Auto, &words),
    }
}

pub(super) fn faults(reader: &mut Reader, is_dev: bool) -> FaultsConfig {
    let [commit, restore] = ["faults.commit_delay", "faults.restore_delay"];
    for key in [commit, restore] {
        if !cfg!(feature = "faults") {
            reader.reject(key, Wrong::FaultsAbsent);
        } else if !is_dev {
            reader.reject(key, Wrong::FaultsWithoutDev);
        }
    }
    if !cfg!(feature = "faults") {
        return FaultsConfig::default();
    }
    FaultsConfig {
        // No test needs more than a minute.
        commit_delay: reader.duration(commit, Duration::ZERO, Duration::ZERO..=secs(60)),
        // An hour is as good as forever.
        restore_delay: reader.duration(restore, Duration::ZERO, Duration::ZERO..=secs(3600)),
    }
}

fn address(reader: &mut Reader, key: &str, port: u16) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], port));
    reader.parsed(key, default, ADDRESS, |text| text.trim().parse().ok())
}

/// Reads the public keys. Errors do not repeat a key: it may be a private one.
fn public_keys(reader: &mut Reader) -> Vec<PublicKey> {
    let key = "auth.public_keys";
    let texts = reader.list(key, "a list of public keys in PEM form", |text| {
        Some(text.to_owned())
    });
    let mut keys = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match PublicKey::from_pem(text) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let number = index + 1;
                let origin = reader.origin(key);
                reader.problem(key, origin, Wrong::PublicKey { number, error });
            }
        }
    }
    keys
}

/// Accepts an origin that a browser can send, or `*`. Any other entry would have no effect.
fn origin(text: &str) -> Option<String> {
    (text == "*" || PageOrigin::parse(text).is_some()).then(|| text.to_owned())
}

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

fn level(text: &str) -> Option<String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    // A single word that is not a level would be read as a module's name, and silence everything else.
    let is_known = text.split(',').all(|directive| {
        let directive = directive.trim();
        levels.contains(&directive.to_ascii_lowercase().as_str())
            || directive.contains('=')
            || directive.contains("::")
    });
    (is_known && EnvFilter::builder().parse(text).is_ok()).then(|| text.to_owned())
}

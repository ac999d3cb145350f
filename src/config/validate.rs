//! Rules between keys, and conditions for serving players.

use std::net::SocketAddr;

use super::error::{ConfigError, Origin, Wrong};
use super::reader::Reader;
use super::values::unit::{show_duration, show_size};
use super::{Config, KindConfig};

/// Refuses values that are allowed on their own but contradict each other.
pub(super) fn check(reader: &mut Reader, config: &Config) {
    let client = &config.client;
    if client.pong_timeout >= client.ping {
        relation(
            reader,
            ("client.pong_timeout", show_duration(client.pong_timeout)),
            "shorter than",
            ("client.ping", show_duration(client.ping)),
        );
    }
    if client.queue_bytes_max < client.message_max {
        relation(
            reader,
            ("client.queue_bytes_max", shown(client.queue_bytes_max)),
            "at least",
            ("client.message_max", shown(client.message_max)),
        );
    }
    let database = &config.database;
    if database.connections_min > database.connections_max {
        relation(
            reader,
            (
                "database.connections_min",
                database.connections_min.to_string(),
            ),
            "at most",
            (
                "database.connections_max",
                database.connections_max.to_string(),
            ),
        );
    }
    for (name, kind) in &config.kind {
        check_kind(reader, config, name, kind);
    }
    let are_personal_channels_open = config
        .kind
        .get("default")
        .is_some_and(|kind| kind.seats == 0);
    if config.auth.personal_channel && !are_personal_channels_open {
        let origin = reader.origin("auth.personal_channel");
        reader.problem("auth.personal_channel", origin, Wrong::NoDefaultKind);
    }
}

fn check_kind(reader: &mut Reader, config: &Config, name: &str, kind: &KindConfig) {
    if kind.grace > config.session.ttl {
        relation(
            reader,
            (&format!("kind.{name}.grace"), show_duration(kind.grace)),
            "at most",
            ("session.ttl", show_duration(config.session.ttl)),
        );
    }
    let grace_max = format!("kind.{name}.grace_max");
    if kind.grace_max > config.session.ttl.max(kind.grace) {
        relation(
            reader,
            (&grace_max, show_duration(kind.grace_max)),
            "at most",
            ("session.ttl", show_duration(config.session.ttl)),
        );
    }
    if kind.grace_max < kind.grace {
        relation(
            reader,
            (&grace_max, show_duration(kind.grace_max)),
            "at least",
            (&format!("kind.{name}.grace"), show_duration(kind.grace)),
        );
    }
    // As much of it as a client can send.
    let message_max = kind.message_max.min(config.client.message_max);
    if config.client.queue_bytes_max / 2 < message_max {
        relation(
            reader,
            (
                "client.queue_bytes_max",
                shown(config.client.queue_bytes_max),
            ),
            "at least twice",
            (&format!("kind.{name}.message_max"), shown(kind.message_max)),
        );
    }
    let sum: u32 = kind.teams.values().map(|size| u32::from(*size)).sum();
    if !kind.teams.is_empty() && sum != u32::from(kind.seats) {
        let key = format!("kind.{name}.teams");
        let origin = reader.origin(&key);
        let wrong = Wrong::Teams {
            kind: name.to_owned(),
            sum,
            seats: kind.seats,
        };
        reader.problem(&key, origin, wrong);
    }
    if kind.history_durable && kind.seats == 0 {
        let key = format!("kind.{name}.history_durable");
        let origin = reader.origin(&key);
        reader.problem(&key, origin, Wrong::DurableChannel);
    } else if kind.history_durable && kind.history_size == 0 {
        let key = format!("kind.{name}.history_durable");
        let mut origin = reader.origin(&key);
        if origin == Origin::Default {
            origin = reader.origin(&format!("kind.{name}.history_size"));
        }
        reader.problem(&key, origin, Wrong::DurableNothing);
    }
}

/// Reports the mistake at the key that was set, so that the operator knows where to look.
fn relation(
    reader: &mut Reader,
    (key, value): (&str, String),
    relation: &'static str,
    (other, other_value): (&str, String),
) {
    let mut origin = reader.origin(key);
    if origin == Origin::Default {
        origin = reader.origin(other);
    }
    let wrong = Wrong::Relation {
        value,
        relation,
        other: other.to_owned(),
        other_value,
    };
    reader.problem(key, origin, wrong);
}

fn shown(bytes: usize) -> String {
    show_size(bytes as u64)
}

impl Config {
    /// Refuses to serve a hub with no way to log in, with an open admin listener, or with secrets that can be
    /// guessed.
    ///
    /// With `--dev` these are the user's choice, but the listeners must be on loopback.
    pub fn check_safe_start(&self) -> Result<(), ConfigError> {
        if self.dev {
            return self.check_dev_is_local();
        }
        let auth = &self.auth;
        let has_jwt_key =
            auth.hmac_secret.is_some() || !auth.public_keys.is_empty() || auth.jwks_url.is_some();
        if !auth.guests && !has_jwt_key && auth.api_keys.is_empty() {
            return Err(ConfigError::NobodyCanLogIn);
        }
        let listen = self.admin.listen;
        if !is_loopback(listen) && self.admin.token.is_none() {
            return Err(ConfigError::AdminWithoutToken { listen });
        }
        self.check_secrets()
    }

    fn check_dev_is_local(&self) -> Result<(), ConfigError> {
        let listeners = [
            ("server.listen", self.server.listen),
            ("admin.listen", self.admin.listen),
        ];
        match listeners
            .into_iter()
            .find(|(_, listen)| !is_loopback(*listen))
        {
            Some((key, listen)) => Err(ConfigError::DevInTheOpen { key, listen }),
            None => Ok(()),
        }
    }
}

/// Returns true for loopback, also for an IPv4 address written as IPv6.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

//! The kinds of rooms: the built-in ones, and those in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::Wrong;
use super::reader::Reader;
use super::section::secs;
use super::{KindConfig, Permission, QuickMatch};

/// A kind is part of every channel name, so it has to be short.
const NAME_CHARS_MAX: usize = 32;

/// With more seats it would be an open channel's crowd, not a room with a row for each seat.
const SEATS_MAX: u16 = 1_024;

const TEAMS: &str = "a table of team names (1 to 32 characters) and sizes from 1 to 1024, such as \
                     { red = 3, blue = 3 }";

const PERMISSIONS: [(&str, Permission); 4] = [
    ("seated", Permission::Seated),
    ("members", Permission::Members),
    ("anyone", Permission::Anyone),
    ("server", Permission::Server),
];

const QUICK_MATCHES: [(&str, QuickMatch); 3] = [
    ("fill", QuickMatch::Fill),
    ("queue", QuickMatch::Queue),
    ("off", QuickMatch::Off),
];

/// The defaults of a kind.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    seats: u16,
    history_durable: bool,
    history_bytes: u64,
    message_max: u64,
}

/// The defaults of a kind that is added.
const ADDED: Defaults = Defaults {
    seats: 0,
    history_durable: false,
    history_bytes: 256 << 10,
    message_max: 16 << 10,
};

/// The built-in kinds.
const SHIPPED: [(&str, Defaults); 3] = [
    (
        "duel",
        Defaults {
            seats: 2,
            history_durable: true,
            ..ADDED
        },
    ),
    // Any client may create any number of lobbies: a short history is enough after a reload of the page.
    (
        "lobby",
        Defaults {
            history_bytes: 16 << 10,
            message_max: 4 << 10,
            ..ADDED
        },
    ),
    ("table", Defaults { seats: 6, ..ADDED }),
];

pub(super) fn kinds(reader: &mut Reader, ttl: Duration) -> BTreeMap<String, KindConfig> {
    let given: BTreeSet<String> = reader
        .keys()
        .filter_map(|key| key.strip_prefix("kind."))
        .filter_map(|rest| rest.split('.').next())
        .map(str::to_owned)
        .collect();
    let mut kinds = BTreeMap::new();
    for (name, defaults) in SHIPPED {
        kinds.insert(name.to_owned(), kind(reader, name, defaults, ttl));
    }
    for name in given {
        let read = || kind(reader, &name, ADDED, ttl);
        kinds.entry(name.clone()).or_insert_with(read);
    }
    kinds
}

fn kind(reader: &mut Reader, name: &str, defaults: Defaults, ttl: Duration) -> KindConfig {
    // `[kind.chess]` without keys is a kind as well.
    let section = format!("kind.{name}");
    reader.forget_empty(&section);
    let key = |key: &str| format!("{section}.{key}");

    let seats = reader.number(&key("seats"), defaults.seats, 0..=SEATS_MAX);
    let (subscribe, publish) = if seats == 0 {
        (Permission::Anyone, Permission::Members)
    } else {
        (Permission::Seated, Permission::Seated)
    };
    let teams = reader.sizes_by_name(&key("teams"), TEAMS, |team, size| {
        (1..=NAME_CHARS_MAX).contains(&team.chars().count()) && (1..=SEATS_MAX).contains(&size)
    });
    let day = secs(86_400);
    // No hold is longer than a session, so a shorter session alone must be a valid change.
    let grace = reader.duration(&key("grace"), secs(300).min(ttl), Duration::ZERO..=30 * day);
    let read = KindConfig {
        seats,
        teams,
        grace,
        grace_max: reader.duration(&key("grace_max"), grace, Duration::ZERO..=30 * day),
        message_max: reader.size(&key("message_max"), defaults.message_max, 64..=16 << 20),
        history_size: reader.number(&key("history_size"), 256, 0..=100_000),
        history_bytes: reader.size(
            &key("history_bytes"),
            defaults.history_bytes,
            1 << 10..=256 << 20,
        ),
        history_ttl: reader.duration(&key("history_ttl"), secs(600), secs(1)..=30 * day),
        history_durable: reader.truth(
            &key("history_durable"),
            defaults.history_durable && seats > 0,
        ),
        presence: reader.truth(&key("presence"), true),
        join_leave: reader.truth(&key("join_leave"), false),
        subscribe: reader.word(&key("subscribe"), subscribe, &PERMISSIONS),
        publish: reader.word(&key("publish"), publish, &PERMISSIONS),
        read: reader.word(&key("read"), Permission::Members, &PERMISSIONS),
        spectators: reader.number(&key("spectators"), 0, 0..=100_000),
        cost: reader.number(&key("cost"), 0, 0..=1_000_000_000),
        listed: reader.truth(&key("listed"), false),
        empty_ttl: reader.duration(&key("empty_ttl"), secs(600), Duration::ZERO..=30 * day),
        quick_match: reader.word(&key("quick_match"), QuickMatch::Fill, &QUICK_MATCHES),
    };
    check_name(reader, name);
    read
}

fn check_name(reader: &mut Reader, name: &str) {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let is_name = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.chars().all(is_letter)
        && !name.contains("__");
    if !is_name {
        let section = format!("kind.{name}");
        let origin = reader.origin_within(&format!("{section}."));
        let max = NAME_CHARS_MAX;
        reader.problem(&section, origin, Wrong::KindName { max });
    }
}

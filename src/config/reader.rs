//! Reads the given values key by key: parses each, checks its limits, and records its origin.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use figment::value::Value;

use super::error::{Origin, Problem, Wrong, found};
use super::source::{Given, Sources, Written};
use super::values::did_you_mean::nearest;
use super::values::unit::{parse_duration, parse_size, show_duration, show_size};

/// One key with its value in effect, as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key with its section: `server.listen`.
    pub key: String,
    /// As TOML, with secrets redacted; `None` if the key is not set and has no default.
    pub shown: Option<String>,
    pub origin: Origin,
}

/// The values that have not been read, and the results of the others.
#[derive(Debug)]
pub(super) struct Reader {
    given: BTreeMap<String, Given>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(sources: Sources) -> Reader {
        Reader {
            given: sources.given,
            settings: Vec::new(),
            problems: sources.problems,
        }
    }

    /// Returns the keys that have not been read.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.given.keys().map(String::as_str)
    }

    /// Removes and returns the value of a key.
    pub(super) fn given(&mut self, key: &str) -> Option<Given> {
        self.given.remove(key)
    }

    /// Removes a section that was written without any key.
    pub(super) fn forget_empty(&mut self, section: &str) {
        if matches!(
            self.given.get(section),
            Some(Given { written: Written::Toml(Value::Dict(_, dict)), .. }) if dict.is_empty()
        ) {
            self.given.remove(section);
        }
    }

    pub(super) fn number<T>(&mut self, key: &str, default: T, limits: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i128>,
    {
        let allowed = format!("a whole number from {} to {}", limits.start(), limits.end());
        let read = |written: &Written| {
            let number = match written {
                Written::Text(text) => text.trim().parse::<i128>().ok()?,
                Written::Toml(value) => integer(value)?,
            };
            T::try_from(number).ok().filter(|n| limits.contains(n))
        };
        self.take(key, default, &allowed, read, |n| n.to_string())
    }

    /// Reads a size in bytes.
    pub(super) fn size(&mut self, key: &str, default: u64, limits: RangeInclusive<u64>) -> usize {
        let allowed = format!(
            "a size from {} to {}, such as \"64KiB\" (units B, KiB, MiB, GiB; a bare number is bytes)",
            show_size(*limits.start()),
            show_size(*limits.end())
        );
        let read = |written: &Written| {
            let bytes = match written {
                Written::Toml(value) if integer(value).is_some() => {
                    u64::try_from(integer(value)?).ok()?
                }
                Written::Toml(_) | Written::Text(_) => parse_size(text(written)?)?,
            };
            Some(bytes).filter(|bytes| limits.contains(bytes))
        };
        let bytes = self.take(key, default, &allowed, read, |bytes| {
            quoted(&show_size(*bytes))
        });
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        limits: RangeInclusive<Duration>,
    ) -> Duration {
        self.duration_where(key, default, limits, "", |_| true)
    }

    /// Reads a duration with one more condition, which `also` describes.
    pub(super) fn duration_where(
        &mut self,
        key: &str,
        default: Duration,
        limits: RangeInclusive<Duration>,
        also: &str,
        holds: impl Fn(&Duration) -> bool,
    ) -> Duration {
        let allowed = format!(
            "a duration from {} to {}{also}, with its unit, such as \"25s\", \"5m\" or \"7d\"",
            show_duration(*limits.start()),
            show_duration(*limits.end())
        );
        let read = |written: &Written| {
            parse_duration(text(written)?).filter(|read| limits.contains(read) && holds(read))
        };
        self.take(key, default, &allowed, read, |read| {
            quoted(&show_duration(*read))
        })
    }

    pub(super) fn truth(&mut self, key: &str, default: bool) -> bool {
        self.truth_from(key, default, Origin::Default)
    }

    /// Reads a truth value whose default has an origin of its own.
    pub(super) fn truth_from(&mut self, key: &str, default: bool, origin: Origin) -> bool {
        let read = |written: &Written| match written {
            Written::Text(text) => text.trim().parse().ok(),
            Written::Toml(value) => value.to_bool(),
        };
        self.take_from(
            key,
            (default, origin),
            "true or false",
            read,
            bool::to_string,
        )
    }

    /// Reads one of a few words.
    pub(super) fn word<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        default: T,
        words: &[(&str, T)],
    ) -> T {
        let names: Vec<String> = words.iter().map(|(name, _)| quoted(name)).collect();
        let read = |written: &Written| {
            let word = text(written)?;
            words
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, value)| *value)
        };
        let show = |value: &T| {
            let name = words.iter().find(|(_, word)| word == value);
            quoted(name.map_or("", |(name, _)| *name))
        };
        self.take(key, default, &names.join(", "), read, show)
    }

    /// Reads a text that `parse` accepts.
    pub(super) fn parsed<T: Display>(
        &mut self,
        key: &str,
        default: T,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let read = |written: &Written| parse(text(written)?);
        self.take(key, default, allowed, read, |value| {
            quoted(&value.to_string())
        })
    }

    /// Reads a table of names and numbers.
    pub(super) fn sizes_by_name(
        &mut self,
        key: &str,
        allowed: &str,
        is_allowed: impl Fn(&str, u16) -> bool,
    ) -> BTreeMap<String, u16> {
        let read = |written: &Written| {
            let parsed;
            let value = match written {
                Written::Toml(value) => value,
                Written::Text(text) => {
                    parsed = text.parse::<Value>().ok()?;
                    &parsed
                }
            };
            let entries = value.as_dict()?.iter().map(|(name, size)| {
                let size = u16::try_from(integer(size)?).ok()?;
                is_allowed(name, size).then(|| (name.clone(), size))
            });
            entries.collect()
        };
        let show = |sizes: &BTreeMap<String, u16>| {
            let entries: Vec<String> = sizes
                .iter()
                .map(|(name, size)| format!("{} = {size}", quoted(name)))
                .collect();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        };
        self.take(key, BTreeMap::new(), allowed, read, show)
    }

    /// Returns the origin of a key that has been read.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Returns the origin of the first given key with this prefix.
    pub(super) fn origin_within(&self, prefix: &str) -> Origin {
        let mut within = self
            .settings
            .iter()
            .filter(|setting| setting.key.starts_with(prefix));
        within
            .find(|setting| setting.origin != Origin::Default)
            .map_or(Origin::Default, |setting| setting.origin.clone())
    }

    pub(super) fn problem(&mut self, key: &str, origin: Origin, wrong: Wrong) {
        let key = key.to_owned();
        self.problems.push(Problem { origin, key, wrong });
    }

    /// Refuses a key without reading it.
    pub(super) fn reject(&mut self, key: &str, wrong: Wrong) {
        if let Some(given) = self.given.remove(key) {
            self.problem(key, given.origin, wrong);
        }
    }

    /// Refuses keys that have not been read, and returns everything else.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<Problem>) {
        for (key, given) in std::mem::take(&mut self.given) {
            let inside = format!("{key}.");
            let mut section: Vec<&str> = self
                .settings
                .iter()
                .filter_map(|setting| setting.key.strip_prefix(&inside)?.split('.').next())
                .collect();
            section.dedup();
            let wrong = if section.is_empty() {
                let known = self.settings.iter().map(|setting| setting.key.as_str());
                let nearest = nearest(&key, known).map(|near| as_written(near, &given.origin));
                Wrong::Unknown { nearest }
            } else {
                let keys = section.join(", ");
                Wrong::Section { keys }
            };
            self.problem(&key, given.origin, wrong);
        }
        (self.settings, self.problems)
    }

    fn take<T>(
        &mut self,
        key: &str,
        default: T,
        allowed: &str,
        read: impl Fn(&Written) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.take_from(key, (default, Origin::Default), allowed, read, show)
    }

    fn take_from<T>(
        &mut self,
        key: &str,
        default: (T, Origin),
        allowed: &str,
        read: impl Fn(&Written) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (value, origin) = match self.given.remove(key) {
            None => default,
            Some(Given { written, origin }) => match read(&written) {
                Some(value) => (value, origin),
                None => {
                    self.refuse(key, &origin, describe(&written), allowed);
                    (default.0, origin)
                }
            },
        };
        self.note(key, Some(show(&value)), origin);
        value
    }

    pub(super) fn refuse(&mut self, key: &str, origin: &Origin, found: String, allowed: &str) {
        let allowed = allowed.to_owned();
        self.problem(key, origin.clone(), Wrong::Value { found, allowed });
    }

    pub(super) fn note(&mut self, key: &str, shown: Option<String>, origin: Origin) {
        let key = key.to_owned();
        self.settings.push(Setting { key, shown, origin });
    }
}

/// Writes a key in the form of its source.
fn as_written(key: &str, origin: &Origin) -> String {
    match origin {
        Origin::Environment(_) | Origin::SecretFile { .. } => {
            format!("HOLDFAST_{}", key.replace('.', "__").to_ascii_uppercase())
        }
        Origin::File(_) | Origin::Flag(_) | Origin::Default | Origin::Dev => key.to_owned(),
    }
}

pub(super) fn text(written: &Written) -> Option<&str> {
    match written {
        Written::Text(text) => Some(text),
        Written::Toml(value) => value.as_str(),
    }
}

fn integer(value: &Value) -> Option<i128> {
    let unsigned = || i128::try_from(value.to_u128()?).ok();
    value.to_i128().or_else(unsigned)
}

/// Describes a wrong value. The content of a list or table is left out.
pub(super) fn describe(written: &Written) -> String {
    match written {
        Written::Text(text) => found(text),
        Written::Toml(Value::String(_, text)) => found(text),
        Written::Toml(Value::Bool(_, value)) => value.to_string(),
        Written::Toml(Value::Array(..)) => "a list".to_owned(),
        Written::Toml(Value::Dict(..)) => "a table".to_owned(),
        Written::Toml(value) => match integer(value) {
            Some(number) => number.to_string(),
            None => "a number with a fraction".to_owned(),
        },
    }
}

/// Quotes a text as TOML does.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

//! The sources of values: each provides flat keys, with the origin of each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::Provider;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

use super::error::{ConfigError, Origin, Problem, Wrong};
use super::foreign::is_foreign;

/// The prefix of every environment variable of the configuration.
const PREFIX: &str = "HOLDFAST_";

/// Keys that may be read from a file named by `..._FILE`, as container platforms provide secrets.
const SECRETS: [&str; 5] = [
    "database.url",
    "admin.token",
    "auth.hmac_secret",
    "auth.hmac_secret_previous",
    "auth.api_keys",
];

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    /// From the environment or a flag: text, whatever the type of the key.
    Text(String),
    /// From a file, with its type in TOML.
    Toml(Value),
}

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) written: Written,
    pub(super) origin: Origin,
}

/// All given values, by key. A later one wins.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) given: BTreeMap<String, Given>,
    pub(super) problems: Vec<Problem>,
}

impl Sources {
    /// Adds a TOML file.
    ///
    /// `origin` describes, for the error, where the file was named.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        origin: &'static str,
    ) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            origin,
            path: path.to_owned(),
            source,
        })?;
        let profiles = Toml::string(&text)
            .data()
            .map_err(|error| ConfigError::Syntax {
                path: path.to_owned(),
                reason: without_excerpt(&error.to_string()),
            })?;
        for dict in profiles.into_values() {
            self.add_dict("", dict, path);
        }
        Ok(())
    }

    fn add_dict(&mut self, prefix: &str, dict: Dict, path: &Path) {
        for (name, value) in dict {
            let key = format!("{prefix}{name}");
            // Teams are one value: another source replaces them, and does not add to them.
            if let Value::Dict(_, inner) = &value
                && !inner.is_empty()
                && !is_teams(&key)
            {
                self.add_dict(&format!("{key}."), inner.clone(), path);
            } else {
                self.add(key, Written::Toml(value), Origin::File(path.to_owned()));
            }
        }
    }

    /// Adds the environment variables that belong to the configuration.
    pub(super) fn add_environment(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let key = match name.strip_prefix(PREFIX) {
                Some(rest) if !is_foreign(rest, value.to_str()) => {
                    rest.to_ascii_lowercase().replace("__", ".")
                }
                Some(_) => continue,
                None if name == "RUST_LOG" && !value.is_empty() => "log.level".to_owned(),
                None => continue,
            };
            // RUST_LOG wins over HOLDFAST_LOG__LEVEL, in either order.
            let is_outdone = name != "RUST_LOG"
                && self.given.get(&key).is_some_and(|given| {
                    given.origin == Origin::Environment("RUST_LOG".to_owned())
                });
            if !is_outdone {
                self.add_variable(name, key, value.to_str());
            }
        }
    }

    fn add_variable(&mut self, name: &str, key: String, value: Option<&str>) {
        let origin = Origin::Environment(name.to_owned());
        let Some(value) = value else {
            let wrong = Wrong::Encoding;
            return self.problems.push(Problem { origin, key, wrong });
        };
        match key
            .strip_suffix("_file")
            .filter(|key| SECRETS.contains(key))
        {
            Some(key) => self.add_secret_file(name, key, value),
            None => self.add_once(key, Written::Text(value.to_owned()), origin),
        }
    }

    fn add_secret_file(&mut self, name: &str, key: &str, path: &str) {
        let path = PathBuf::from(path);
        let origin = Origin::SecretFile {
            variable: name.to_owned(),
            path: path.clone(),
        };
        match fs::read_to_string(&path) {
            Ok(secret) => {
                // Editors and `echo` end a file with a line break, which is not part of the secret.
                let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
                self.add_once(key.to_owned(), Written::Text(secret), origin);
            }
            Err(error) => self.problems.push(Problem {
                origin,
                key: key.to_owned(),
                wrong: Wrong::SecretFile {
                    reason: error.kind(),
                },
            }),
        }
    }

    /// Adds `key=value` from the command line.
    pub(super) fn add_flag(&mut self, key: &str, value: &str) {
        let origin = Origin::Flag(key.to_owned());
        self.add(key.to_owned(), Written::Text(value.to_owned()), origin);
    }

    fn add(&mut self, key: String, written: Written, origin: Origin) {
        self.given.insert(key, Given { written, origin });
    }

    /// Adds a value of the environment. A secret that is also given by a file is refused: the order is random.
    fn add_once(&mut self, key: String, written: Written, origin: Origin) {
        match self.given.get(&key).map(|given| given.origin.clone()) {
            Some(first @ (Origin::Environment(_) | Origin::SecretFile { .. }))
                if SECRETS.contains(&key.as_str()) =>
            {
                let wrong = Wrong::Twice {
                    first: first.to_string(),
                    second: origin.to_string(),
                };
                self.problems.push(Problem { origin, key, wrong });
            }
            Some(_) | None => self.add(key, written, origin),
        }
    }
}

/// Returns false only if there is certainly no such file.
pub(super) fn exists(path: &Path) -> bool {
    // Any other error deserves a message that names the file.
    !matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn is_teams(key: &str) -> bool {
    key.starts_with("kind.") && key.ends_with(".teams") && key.matches('.').count() == 2
}

/// Returns a TOML error without the quoted line, which may contain a secret.
fn without_excerpt(error: &str) -> String {
    let kept: Vec<&str> = error
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !is_excerpt(line))
        .collect();
    kept.join(": ")
}

fn is_excerpt(line: &str) -> bool {
    line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')
        .starts_with('|')
}

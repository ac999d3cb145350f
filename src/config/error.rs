//! Errors of a configuration, with texts that show the operator what to change.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::values::public_key::PublicKeyError;

/// Characters of a wrong value that an error repeats: enough to find it, too few to flood a log.
const FOUND_CHARS_MAX: usize = 60;

/// The place that a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Built in, because of `--dev`.
    Dev,
    File(PathBuf),
    /// The name of an environment variable.
    Environment(String),
    /// The file that an environment variable ending in `_FILE` names.
    SecretFile {
        variable: String,
        path: PathBuf,
    },
    /// The key that was given to `--set`. The value is left out: it may be a secret.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Dev => f.write_str("default of --dev"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::SecretFile { variable, path } => {
                write!(f, "file {} of environment {variable}", path.display())
            }
            Origin::Flag(key) => write!(f, "flag --set {key}"),
        }
    }
}

/// One mistake: its place, its key, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub key: String,
    pub wrong: Wrong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.wrong)
    }
}

/// The mistakes that a key can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("unknown key{}", suggestion(.nearest))]
    Unknown { nearest: Option<String> },
    #[error("is a section, not a key; its keys are {keys}")]
    Section { keys: String },
    /// The build has no fail points.
    #[error("unknown key: this build is without the cargo feature `faults`")]
    FaultsAbsent,
    #[error("acts only with --dev; remove it or start with --dev")]
    FaultsWithoutDev,
    #[error("found {found}, expected {allowed}")]
    Value { found: String, allowed: String },
    #[error("is empty; give a value or remove it")]
    Empty,
    #[error("is not valid UTF-8")]
    Encoding,
    #[error("cannot read the file it names: {reason}")]
    SecretFile { reason: io::ErrorKind },
    #[error("is set twice, by {first} and by {second}; keep one of them")]
    Twice { first: String, second: String },
    /// Two keys that contradict each other.
    #[error("is {value}, which must be {relation} {other} ({other_value})")]
    Relation {
        value: String,
        relation: &'static str,
        other: String,
        other_value: String,
    },
    #[error(
        "needs [kind.default] with seats = 0, the kind of channels without a colon: personal channels are of it"
    )]
    NoDefaultKind,
    #[error("key {number} {error}")]
    PublicKey {
        number: usize,
        error: PublicKeyError,
    },
    #[error("the teams have {sum} seats together, which must be the {seats} of kind.{kind}.seats")]
    Teams { kind: String, sum: u32, seats: u16 },
    #[error(
        "needs seats: a kind with seats = 0 is an open channel that the database does not know"
    )]
    DurableChannel,
    #[error("needs a history: history_size is 0, which keeps nothing")]
    DurableNothing,
    #[error(
        "is not a name for a kind: expected up to {max} lower-case letters, digits, `-` and single `_`"
    )]
    KindName { max: usize },
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; `holdfast config show` lists all keys".to_owned(),
    }
}

/// The reason why the daemon does not start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: cannot read {}: {source}", path.display())]
    Unreadable {
        origin: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("file {}: is not valid TOML: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    /// All mistakes, so that they can be fixed in one round.
    #[error("{}", lines(.0))]
    Refused(Vec<Problem>),
    #[error(
        "no way to log in is configured: set auth.guests = true, or auth.hmac_secret, auth.public_keys or \
         auth.jwks_url for the JWTs of your game, or auth.api_keys; `holdfast serve --dev` allows guests"
    )]
    NobodyCanLogIn,
    #[error("auth.jwks_url: the key set in {} cannot be used: {reason}", path.display())]
    KeySet { path: PathBuf, reason: String },
    #[error("auth.jwks_url: there are no certificates to verify its server with: {reason}")]
    Certificates { reason: String },
    #[error(
        "admin.listen is {listen}, which others can reach: set admin.token \
         (HOLDFAST_ADMIN__TOKEN or HOLDFAST_ADMIN__TOKEN_FILE), or listen on 127.0.0.1"
    )]
    AdminWithoutToken { listen: std::net::SocketAddr },
    #[error(
        "{key} is {listen}, which others can reach: --dev lets guests in and has a playground, so it listens on \
         loopback alone (127.0.0.1 or [::1]); start without --dev to listen elsewhere"
    )]
    DevInTheOpen {
        key: &'static str,
        listen: std::net::SocketAddr,
    },
    #[error(
        "{key} has a secret of {bytes} bytes, which can be guessed: use at least {least} bytes, better 32 \
         random ones (`openssl rand -hex 32`); with --dev any length is allowed"
    )]
    SecretShort {
        key: &'static str,
        bytes: usize,
        least: usize,
    },
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Quotes a wrong value for an error: on one line, cut off when long.
pub(super) fn found(text: &str) -> String {
    let mut cut: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

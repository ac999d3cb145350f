//! Errors of a benchmark.

use std::io;
use std::net::SocketAddr;

use super::client::ClientError;

/// The reason why a benchmark failed, which decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Options that contradict each other or make no sense.
    #[error("{0}")]
    Usage(String),
    #[error("no hub answers at {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error(
        "{needed} file descriptors are needed, and this process may have {limit}: raise the limit with \
         `ulimit -n {needed}`, or ask for fewer clients"
    )]
    FileLimit { needed: u64, limit: u64 },
    #[error("the hub has no kind `{0}`: name one of its own with --kind, or configure [kind.{0}]")]
    UnknownKind(String),
    #[error(
        "rooms of the kind `{kind}` have fewer than {per_room} seats: ask for fewer with --per-room"
    )]
    SmallKind { kind: String, per_room: u32 },
    #[error(
        "the hub at {address} refuses guests, and this benchmark has no other players: start it with --dev, or set auth.guests"
    )]
    NoGuests { address: SocketAddr },
    #[error("{doing}: {source}")]
    Client {
        doing: &'static str,
        source: ClientError,
    },
    #[error("the hub did not start: {0}")]
    Start(String),
    #[error("the benchmark has no result: {0}")]
    Nothing(String),
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BenchError {
    /// Returns the exit code: 2 for bad options, 69 for an unreachable hub, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Usage(_) => 2,
            BenchError::Unreachable { .. } => 69,
            BenchError::FileLimit { .. }
            | BenchError::UnknownKind(_)
            | BenchError::SmallKind { .. }
            | BenchError::NoGuests { .. }
            | BenchError::Client { .. }
            | BenchError::Start(_)
            | BenchError::Nothing(_)
            | BenchError::Interrupted
            | BenchError::Io(_) => 1,
        }
    }
}

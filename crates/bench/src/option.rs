//! The options of the benchmarks.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use humantime_serde::re::humantime::parse_duration;

use holdfast_wire::Encoding;

/// The most clients: one address has some 28,000 ports to dial from.
pub(super) const CLIENTS_MAX: u32 = 25_000;

/// The most players in a room: more than any game seats; the hub's own limit may be lower.
const PER_ROOM_MAX: i64 = 1_000;

/// The smallest payload that holds a number and a time.
const PAYLOAD_MIN: i64 = 48;

/// The largest payload: the hub's limit, less the frame around it.
const PAYLOAD_MAX: i64 = 60_000;

#[derive(Debug, Clone, Subcommand)]
pub enum BenchVerb {
    /// Memory of players who are connected, seated and silent
    Idle(IdleOptions),
    /// Many small rooms whose players publish
    Rooms(RoomsOptions),
    /// One open channel in which every member receives every message
    Fanout(FanoutOptions),
    /// Kill a hub under its players, and time their return to their seats
    Storm(StormOptions),
    /// Durable creates: room, player, seat and session in one commit
    Create(CreateOptions),
    /// Two builds of the hub under the same load in turn: the ratio of their figures, and its confidence interval
    Compare(CompareOptions),
}

/// The hub to measure.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetOptions {
    /// A running hub [default: one is started, and its data deleted at the end]
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["data", "set", "program", "hub_cores"])]
    pub(super) address: Option<String>,
    /// The process id of that hub, if it runs here: its processor time and memory are measured
    #[arg(long, requires = "address", value_parser = value_parser!(u32).range(1..))]
    pub(super) pid: Option<u32>,
    #[command(flatten)]
    pub(super) own: OwnOptions,
}

/// The hub that the benchmark starts.
#[derive(Debug, Clone, Args)]
pub(super) struct OwnOptions {
    /// A folder on the disk to measure, for the data of the hub that is started [default: the system's temporary
    /// folder]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// A setting of the hub that is started, as for `serve`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// The program of the hub that is started [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(super) program: Option<PathBuf>,
    /// Cores for the hub that is started; this process uses the others, if any are left [default: all, shared]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u16).range(1..))]
    pub(super) hub_cores: Option<u16>,
}

/// Numbers of players.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PlayerOptions {
    /// Players
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) clients: u32,
    /// Players in a room
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=PER_ROOM_MAX))]
    pub(super) per_room: u32,
}

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputOptions {
    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Size and encoding of the messages, and how long they are sent.
#[derive(Debug, Clone, Args)]
pub(super) struct TalkOptions {
    /// Use Protobuf instead of JSON
    #[arg(long)]
    pub(super) protobuf: bool,
    /// Bytes of each message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(PAYLOAD_MIN..=PAYLOAD_MAX))]
    pub(super) payload: u32,
    /// How long to send messages before anything is counted
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub(super) warm_up: Duration,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,
}

impl TalkOptions {
    pub(super) fn encoding(&self) -> Encoding {
        match self.protobuf {
            true => Encoding::Protobuf,
            false => Encoding::Json,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct IdleOptions {
    #[command(flatten)]
    pub(super) players: PlayerOptions,
    /// The kind of the rooms [default: `table`; a kind without history, for a hub that is started]
    #[arg(long)]
    pub(super) kind: Option<String>,
    #[command(flatten)]
    pub(super) target: TargetOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct RoomsOptions {
    /// Rooms
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) rooms: u32,
    /// Players in a room
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=PER_ROOM_MAX))]
    pub(super) per_room: u32,
    /// The kind of the rooms [default: `table`; a separate kind, for a hub that is started]
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Messages a second in all rooms together; 0: a room sends its next once all members have received its last
    #[arg(long, default_value_t = 2_000)]
    pub(super) rate: u32,
    #[command(flatten)]
    pub(super) talk: TalkOptions,
    #[command(flatten)]
    pub(super) target: TargetOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct FanoutOptions {
    /// Members of the channel
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) clients: u32,
    /// The kind of the channel; it has no seats
    #[arg(long, default_value = "lobby")]
    pub(super) kind: String,
    /// Messages a second; 0: as many as are received, with as many in flight as --in-flight allows
    #[arg(long, default_value_t = 10)]
    pub(super) rate: u32,
    /// Messages in flight at a time, with --rate 0
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=64))]
    pub(super) in_flight: u32,
    #[command(flatten)]
    pub(super) talk: TalkOptions,
    #[command(flatten)]
    pub(super) target: TargetOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct StormOptions {
    #[command(flatten)]
    pub(super) players: PlayerOptions,
    /// How long to wait for all players to be back
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(super) within: Duration,
    #[command(flatten)]
    pub(super) own: OwnOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct CreateOptions {
    /// Callers; each sends its next create as soon as it has the answer to the last
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) clients: u32,
    /// The kind of the rooms
    #[arg(long, default_value = "table")]
    pub(super) kind: String,
    /// Creates a second in total, at set times; 0: as many as are answered
    #[arg(long, default_value_t = 0)]
    pub(super) rate: u32,
    /// How long to send creates before anything is counted
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub(super) warm_up: Duration,
    /// How long to measure
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    #[command(flatten)]
    pub(super) target: TargetOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

/// The number of pairs that shows that a build is not worse. Even, so that each build runs first in half of them.
const PAIRS: u32 = 12;

#[derive(Debug, Clone, Args)]
pub struct CompareOptions {
    /// The program of the old build
    pub(super) old: PathBuf,
    /// The program of the new build
    pub(super) new: PathBuf,
    /// Pairs of runs
    #[arg(long, default_value_t = PAIRS, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(super) pairs: u32,
    /// The benchmark and its options, after `--` [default: rooms --rate 0]
    #[arg(last = true, value_name = "BENCHMARK")]
    bench: Vec<String>,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

impl CompareOptions {
    /// Returns the benchmark to run, with its options.
    pub(super) fn bench(&self) -> Vec<String> {
        if self.bench.is_empty() {
            return ["rooms", "--rate", "0"].map(str::to_owned).to_vec();
        }
        self.bench.clone()
    }
}

impl BenchVerb {
    pub(super) fn output(&self) -> OutputOptions {
        match self {
            BenchVerb::Idle(options) => options.output,
            BenchVerb::Rooms(options) => options.output,
            BenchVerb::Fanout(options) => options.output,
            BenchVerb::Storm(options) => options.output,
            BenchVerb::Create(options) => options.output,
            BenchVerb::Compare(options) => options.output,
        }
    }
}

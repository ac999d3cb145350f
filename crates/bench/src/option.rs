//! What a person may ask of a benchmark.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use humantime_serde::re::humantime::parse_duration;

use holdfast_wire::Encoding;

/// One address has some 28,000 ports to dial from.
pub(super) const CLIENTS_MAX: u32 = 25_000;

/// More players than any game seats at one table; the hub's own limit may be lower.
const PER_ROOM_MAX: i64 = 1_000;

/// The least that holds a number and a time.
const PAYLOAD_MIN: i64 = 48;

/// What the hub takes, less the words around it.
const PAYLOAD_MAX: i64 = 60_000;

#[derive(Debug, Clone, Subcommand)]
pub enum BenchVerb {
    /// Memory of players who are connected, seated and silent
    Idle(IdleOptions),
    /// Many small rooms whose players talk
    Rooms(RoomsOptions),
    /// One open channel in which everybody hears everything
    Fanout(FanoutOptions),
    /// Kill a hub of one's own under its players, and time their way back into their seats
    Storm(StormOptions),
    /// Durable creates: room, player, seat and session in one commit
    Create(CreateOptions),
    /// Two builds of the hub under the same load in turn: the ratio of what they do, and how sure it is
    Compare(CompareOptions),
}

/// The hub to measure.
#[derive(Debug, Clone, Args)]
pub(super) struct TargetOptions {
    /// A running hub [default: one is started, and its data thrown away]
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["data", "set", "program", "hub_cores"])]
    pub(super) address: Option<String>,
    /// The process of that hub, if it runs here: its processor time and memory are measured
    #[arg(long, requires = "address", value_parser = value_parser!(u32).range(1..))]
    pub(super) pid: Option<u32>,
    #[command(flatten)]
    pub(super) own: OwnOptions,
}

/// The hub that is started.
#[derive(Debug, Clone, Args)]
pub(super) struct OwnOptions {
    /// A folder on the disk to measure, for the data of the hub that is started [default: the system's for temporary files]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// A setting of the hub that is started, as for `serve`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// The program of the hub that is started [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(super) program: Option<PathBuf>,
    /// Cores for the hub that is started; this process takes those that are left, if any are [default: all, shared]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u16).range(1..))]
    pub(super) hub_cores: Option<u16>,
}

/// Players who sit together.
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

/// What is said, how often and for how long.
#[derive(Debug, Clone, Args)]
pub(super) struct TalkOptions {
    /// Speak Protobuf instead of JSON
    #[arg(long)]
    pub(super) protobuf: bool,
    /// Bytes of each message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(PAYLOAD_MIN..=PAYLOAD_MAX))]
    pub(super) payload: u32,
    /// Talk before anything is counted
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
    /// The kind of the rooms [default: `table`; one of its own, without history, for a hub that is started]
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
    /// The kind of the rooms [default: `table`; one of its own for a hub that is started]
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Messages a second in all rooms together; 0: each room's next as soon as all have heard its last
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
    /// The kind of the channel: one without seats
    #[arg(long, default_value = "lobby")]
    pub(super) kind: String,
    /// Messages a second; 0: as many as are heard, with so many under way at a time as --in-flight says
    #[arg(long, default_value_t = 10)]
    pub(super) rate: u32,
    /// Messages under way at a time, with --rate 0
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
    /// When to stop waiting for those who are not back
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(super) within: Duration,
    #[command(flatten)]
    pub(super) own: OwnOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

#[derive(Debug, Clone, Args)]
pub struct CreateOptions {
    /// Callers, each of whom asks again as soon as it has its answer
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    pub(super) clients: u32,
    /// The kind of the rooms
    #[arg(long, default_value = "table")]
    pub(super) kind: String,
    /// Creates a second in all, asked for at set times; 0: as many as are answered
    #[arg(long, default_value_t = 0)]
    pub(super) rate: u32,
    /// Ask before anything is counted
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

/// A gate of "not worse" needs so many pairs, each run before and after the other as often.
const PAIRS: u32 = 12;

#[derive(Debug, Clone, Args)]
pub struct CompareOptions {
    /// The program of the hub as it was
    pub(super) old: PathBuf,
    /// The program of the hub as it is
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

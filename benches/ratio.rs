//! Deliveries per second of the hub's processor time, and their delays, compared with a bare hub in the same run. Two
//! scenes use all cores: 1,000 rooms of 8, and one room of 5,000. In both, a room sends its next message as soon as
//! all members have the last. Two more scenes run the rooms with either hub alone on one core: one in the same way,
//! one at 3,000 messages a second.
//!
//! `cargo bench --bench ratio`. `SECONDS=n`, `ROUNDS=n`, `ROOMS=n` and `MEMBERS=n` for other than 8, 3, 1,000 and
//! 5,000; `SCENE=name` for one of `rooms`, `fanout`, `one-core` and `one-core-at-3000`. Hub and generator hold a file
//! descriptor for each player: `ulimit -n 10000`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::runtime::Builder;

use support::daemon::Daemon;
use support::machine::{facts, median, rounded};

mod support {
    pub(crate) mod bare;
    pub(crate) mod daemon;
    pub(crate) mod machine;
}

/// The same as the daemon's, so that it makes no difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The argument that makes this program the bare hub.
const BARE: &str = "bare-hub";

const GOAL: f64 = 0.8;

/// On one core without a set rate: the largest p99 of the delay, as a multiple of its mean.
const P99_BY_MEAN_GOAL: f64 = 3.0;

/// On one core at a set rate: the largest p99 of the delay, as a multiple of the bare hub's.
const P99_GOAL: f64 = 1.3;

/// A load, as arguments of `holdfast bench`.
struct Scene {
    name: &'static str,
    arguments: Vec<String>,
    /// True if the hub runs on the first core, and the generator on the others.
    is_on_one_core: bool,
}

/// A hub under load.
enum Target {
    Daemon(Box<Daemon>),
    Bare(BareHub, String),
}

/// A child process that is killed on drop.
struct BareHub(Child);

impl Drop for BareHub {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    // The daemon chooses its runtime in the same way.
    let mut builder = match std::thread::available_parallelism().map(usize::from) {
        Ok(1) => Builder::new_current_thread(),
        Ok(_) | Err(_) => Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    if std::env::args().nth(1).as_deref() == Some(BARE) {
        runtime.block_on(support::bare::serve());
    } else {
        runtime.block_on(compare());
    }
}

async fn compare() {
    let chosen = std::env::var("SCENE").ok();
    let is_chosen = |scene: &Scene| chosen.as_ref().is_none_or(|name| scene.name == name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for scene in Scene::all().into_iter().filter(is_chosen) {
        let mut rounds: Vec<[Value; 2]> = Vec::new();
        for round in 0..number("ROUNDS", 3) {
            // Each hub runs first in every other round, because the speed of a machine drifts.
            let is_bare_first = round % 2 == 1;
            let first = scene.perform(is_bare_first).await;
            let second = scene.perform(!is_bare_first).await;
            let pair = match is_bare_first {
                true => [second, first],
                false => [first, second],
            };
            eprintln!("{} {:.3}", scene.name, ratio(&pair));
            rounds.push(pair);
        }
        println!("{}", report(scene.name, &rounds, folder.path()));
    }
}

/// Reports the medians of all rounds: of the hub, of the bare hub, and of their ratios.
fn report(scene: &str, rounds: &[[Value; 2]], folder: &Path) -> Value {
    let of = |which: usize, pointer: &str| {
        let values = rounds.iter().map(|pair| figure(&pair[which], pointer));
        rounded(median(values), 0)
    };
    let delays = |which: usize| {
        json!({
            "p50": of(which, "/delay_us/p50"),
            "p99": of(which, "/delay_us/p99"),
            "mean": of(which, "/delay_us/mean"),
        })
    };
    let p99_ratios = rounds.iter().map(|pair| {
        let [hub, bare] = pair.each_ref().map(|run| figure(run, "/delay_us/p99"));
        hub / bare
    });
    let p99_by_mean = rounds.iter().map(|pair| figure(&pair[0], "/p99_by_mean"));
    let per_cpu = "/deliveries_per_hub_cpu_second";
    json!({
        "bench": "ratio",
        "scene": scene,
        "ratio": rounded(median(rounds.iter().map(ratio)), 3),
        "ratio_goal": GOAL,
        "ratio_each": rounds.iter().map(|pair| rounded(ratio(pair), 3)).collect::<Vec<_>>(),
        "hub_per_cpu_second": of(0, per_cpu),
        "bare_per_cpu_second": of(1, per_cpu),
        "hub_per_second": of(0, "/deliveries_per_second"),
        "bare_per_second": of(1, "/deliveries_per_second"),
        "hub_cores": rounds.first().map(|pair| pair[0]["hub_cores"].clone()),
        "hub_delay_us": delays(0),
        "bare_delay_us": delays(1),
        "p99_by_mean": rounded(median(p99_by_mean), 2),
        "p99_by_mean_goal": P99_BY_MEAN_GOAL,
        "p99_ratio": rounded(median(p99_ratios), 2),
        "p99_ratio_goal": P99_GOAL,
        "cut": rounds.iter().flatten().map(|run| run["cut"].as_u64()).collect::<Vec<_>>(),
        "lost": rounds.iter().flatten().map(|run| run["lost"].as_u64()).collect::<Vec<_>>(),
        "machine": facts(folder),
    })
}

fn figure(run: &Value, pointer: &str) -> f64 {
    run.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

impl Scene {
    fn all() -> [Scene; 4] {
        let rooms = number("ROOMS", 1_000).to_string();
        let members = number("MEMBERS", 5_000).to_string();
        let in_rooms = ["rooms", "--kind", "bench", "--rooms", &rooms];
        let in_one_room = ["fanout", "--clients", &members];
        let as_heard = ["--rate", "0"];
        let at_set_times = ["--rate", "3000"];
        [
            Scene::new("rooms", &[&in_rooms[..], &as_heard].concat()),
            Scene::new("fanout", &[&in_one_room[..], &as_heard].concat()),
            Scene::new("one-core", &[&in_rooms[..], &as_heard].concat()).on_one_core(),
            Scene::new("one-core-at-3000", &[&in_rooms[..], &at_set_times].concat()).on_one_core(),
        ]
    }

    fn new(name: &'static str, arguments: &[&str]) -> Scene {
        let seconds = format!("{}s", number("SECONDS", 8));
        let common = ["--json", "--duration", &seconds];
        let arguments = [arguments, &common].concat();
        Scene {
            name,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            is_on_one_core: false,
        }
    }

    fn on_one_core(mut self) -> Scene {
        self.is_on_one_core = true;
        self
    }

    /// Runs the generator against one of the two hubs, each in a process of its own.
    async fn perform(&self, is_bare: bool) -> Value {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let last_core = cores() - 1;
        if self.is_on_one_core {
            keep_to("0");
        }
        let target = match is_bare {
            true => bare(),
            false => {
                let settings = [("kind.bench.seats", "8"), ("log.level", "warn")];
                let daemon = Daemon::start(folder.path(), &settings).await;
                Target::Daemon(Box::new(daemon))
            }
        };
        if self.is_on_one_core {
            keep_to(&format!("{}-{last_core}", 1.min(last_core)));
        }
        let (address, pid) = match &target {
            Target::Daemon(daemon) => (daemon.address.to_string(), daemon.child.id()),
            Target::Bare(hub, address) => (address.clone(), hub.0.id()),
        };
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .arg("bench")
            .args(&self.arguments)
            .args(["--address", &address, "--pid", &pid.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo has built it");
        if self.is_on_one_core {
            keep_to(&format!("0-{last_core}"));
        }
        let answer = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("the generator printed: {answer}"))
    }
}

/// Returns the number of cores of this machine.
fn cores() -> usize {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next();
    last.and_then(|last| last.parse::<usize>().ok())
        .map_or(1, |last| last + 1)
}

/// Pins this process, and each child that it starts from now on, to these cores.
fn keep_to(cores: &str) {
    let this = std::process::id().to_string();
    let set = Command::new("taskset")
        .args(["-a", "-c", "-p", cores, &this])
        .stdout(Stdio::null())
        .status()
        .expect("taskset, of util-linux, is installed");
    assert!(set.success(), "the cores {cores} cannot be chosen");
}

fn bare() -> Target {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .arg(BARE)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = child.stdout.take().expect("it is piped");
    let mut address = String::new();
    let read = BufReader::new(output).read_line(&mut address);
    read.expect("it prints its address");
    Target::Bare(BareHub(child), address.trim().to_owned())
}

fn ratio(pair: &[Value; 2]) -> f64 {
    let [hub, bare] = pair.each_ref();
    let per_cpu = "/deliveries_per_hub_cpu_second";
    figure(hub, per_cpu) / figure(bare, per_cpu)
}

fn number(name: &str, usual: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.map_or(usual, |text| text.parse().expect("a whole number"))
}

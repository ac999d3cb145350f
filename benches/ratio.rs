//! What the hub delivers for a second of its processor time, held against a bare hub in the same run: in 1,000
//! rooms of 8, and in one room of 5,000.
//!
//! `cargo bench --bench ratio`. `SECONDS=n`, `ROUNDS=n`, `ROOMS=n` and `MEMBERS=n` for other than 8, 3, 1,000 and 5,000.
//! Hub and generator hold a file descriptor for each player: `ulimit -n 10000`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

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

/// Has this program be the bare hub.
const BARE: &str = "bare-hub";

const GOAL: f64 = 0.8;

/// What players do, as arguments of `holdfast bench`.
struct Scene {
    name: &'static str,
    arguments: Vec<String>,
}

/// A hub under load.
enum Target {
    Daemon(Box<Daemon>),
    Bare(BareHub, String),
}

/// Killed when it is dropped.
struct BareHub(Child);

impl Drop for BareHub {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some(BARE) {
        return support::bare::serve().await;
    }
    let rooms = number("ROOMS", 1_000).to_string();
    let members = number("MEMBERS", 5_000).to_string();
    let scenes = [
        Scene::new("rooms", &["--kind", "bench", "--rooms", &rooms]),
        Scene::new("fanout", &["--clients", &members]),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    for scene in scenes {
        let mut rounds: Vec<[Value; 2]> = Vec::new();
        for round in 0..number("ROUNDS", 3) {
            // Each is first as often as the other: a machine is not the same all the time.
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
        let of = |which: usize, key: &str| {
            let values = rounds.iter().map(|pair| pair[which][key].as_f64());
            rounded(median(values.map(|value| value.unwrap_or(0.0))), 0)
        };
        let per_cpu = "deliveries_per_hub_cpu_second";
        let line = json!({
            "bench": "ratio",
            "scene": scene.name,
            "ratio": rounded(median(rounds.iter().map(ratio)), 3),
            "ratio_goal": GOAL,
            "ratio_each": rounds.iter().map(|pair| rounded(ratio(pair), 3)).collect::<Vec<_>>(),
            "hub_per_cpu_second": of(0, per_cpu),
            "bare_per_cpu_second": of(1, per_cpu),
            "hub_per_second": of(0, "deliveries_per_second"),
            "bare_per_second": of(1, "deliveries_per_second"),
            "cut": rounds.iter().flatten().map(|run| run["cut"].as_u64()).collect::<Vec<_>>(),
            "lost": rounds.iter().flatten().map(|run| run["lost"].as_u64()).collect::<Vec<_>>(),
            "machine": facts(folder.path()),
        });
        println!("{line}");
    }
}

impl Scene {
    fn new(name: &'static str, arguments: &[&str]) -> Scene {
        let seconds = format!("{}s", number("SECONDS", 8));
        let common = ["--rate", "0", "--json", "--duration", &seconds];
        let arguments = [&[name], arguments, &common].concat();
        Scene {
            name,
            arguments: arguments.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Runs the generator against one of the two, in processes of their own.
    async fn perform(&self, is_bare: bool) -> Value {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = match is_bare {
            true => bare(),
            false => {
                let settings = [("kind.bench.seats", "8"), ("log.level", "warn")];
                let daemon = Daemon::start(folder.path(), &settings).await;
                Target::Daemon(Box::new(daemon))
            }
        };
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
        let answer = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("the generator said: {answer}"))
    }
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
    read.expect("it tells its address");
    Target::Bare(BareHub(child), address.trim().to_owned())
}

fn ratio(pair: &[Value; 2]) -> f64 {
    let [hub, bare] = pair
        .each_ref()
        .map(|run| run["deliveries_per_hub_cpu_second"].as_f64());
    hub.unwrap_or(0.0) / bare.unwrap_or(f64::INFINITY)
}

fn number(name: &str, usual: u32) -> u32 {
    let text = std::env::var(name).ok();
    text.map_or(usual, |text| text.parse().expect("a whole number"))
}

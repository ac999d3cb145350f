//! The hub to measure: one that is already running, or a child process.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpStream, lookup_host};

use super::error::BenchError;
use super::option::{OwnOptions, TargetOptions};
use super::process::{self, Process, lacking_files};

/// Limit on the time to readiness: a hub that takes longer does not start at all.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two checks for readiness; the measured time is at most this much too long.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Lines of the log that are shown when the hub does not start.
const LOG_LINES_TOLD: usize = 5;

/// Settings with which a hub admits all players from one address: section, key and value.
const FROM_ONE_ADDRESS: [(&str, &str, &str); 4] = [
    ("auth", "newcomers_per_minute", "0"),
    ("client", "wrong_codes_per_minute", "100000"),
    ("server", "connections_per_address_max", "0"),
    ("server", "connects_per_second", "0"),
];

/// A hub to measure.
#[derive(Debug)]
pub(super) struct Hub {
    address: SocketAddr,
    process: Option<Process>,
    own: Option<Own>,
}

/// A child process. It is killed, and its data removed, on drop.
#[derive(Debug)]
struct Own {
    child: Child,
    recipe: Recipe,
    folder: TempDir,
}

/// The parameters of every start.
#[derive(Debug)]
struct Recipe {
    program: PathBuf,
    /// How many cores it may run on; all if there is no number.
    cores: Option<u16>,
    settings: Vec<String>,
}

impl Hub {
    /// Returns the hub of the options, once it is reachable and this process may open a socket for each client.
    pub(super) async fn find(
        target: &TargetOptions,
        settings: &[&str],
        clients: u32,
    ) -> Result<Hub, BenchError> {
        match &target.address {
            Some(address) => Hub::running(address, target.pid, clients).await,
            None => Hub::start(&target.own, settings, clients).await,
        }
    }

    /// Starts a hub with the settings of the benchmark, then those of the user.
    pub(super) async fn start(
        options: &OwnOptions,
        settings: &[&str],
        clients: u32,
    ) -> Result<Hub, BenchError> {
        check_files(clients)?;
        let folder = match &options.data {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let program = match &options.program {
            Some(program) => fs::canonicalize(program)?,
            None => std::env::current_exe()?,
        };
        let own = settings.iter().map(ToString::to_string);
        let recipe = Recipe {
            settings: from_one_address(&program)?
                .into_iter()
                .chain(own)
                .chain(options.set.iter().cloned())
                .collect(),
            program,
            cores: options.hub_cores,
        };
        if let Some(cores) = recipe.cores {
            process::leave_cores(cores)?;
        }
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let child = recipe.spawn(folder.path(), any)?;
        let mut own = Own {
            child,
            recipe,
            folder,
        };
        let address = own.ready().await?;
        Ok(Hub {
            address,
            process: Some(Process::of(own.child.id())),
            own: Some(own),
        })
    }

    async fn running(address: &str, pid: Option<u32>, clients: u32) -> Result<Hub, BenchError> {
        let unreachable = |source| BenchError::Unreachable {
            address: address.to_owned(),
            source,
        };
        let mut addresses = lookup_host(address).await.map_err(unreachable)?;
        let found = addresses
            .next()
            .ok_or_else(|| unreachable(io::Error::other("the name has no address")))?;
        TcpStream::connect(found).await.map_err(unreachable)?;
        check_files(clients)?;
        Ok(Hub {
            address: found,
            process: pid.map(Process::of),
            own: None,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the process of the hub, if it is known.
    pub(super) fn process(&self) -> Option<Process> {
        self.process
    }

    /// Ends the hub with SIGKILL, and starts it again on the same address and data. Returns the time from the kill to
    /// readiness.
    pub(super) async fn crash(&mut self) -> Result<Duration, BenchError> {
        let own = self.own.as_mut().ok_or_else(|| {
            BenchError::Usage("only a hub that the benchmark started can be killed".to_owned())
        })?;
        let killed = Instant::now();
        own.child.kill()?;
        own.child.wait()?;
        own.child = own.recipe.spawn(own.folder.path(), self.address)?;
        self.process = Some(Process::of(own.child.id()));
        own.ready().await?;
        Ok(killed.elapsed())
    }
}

impl Own {
    /// Waits for the readiness event. Returns the listen address in it.
    async fn ready(&mut self) -> Result<SocketAddr, BenchError> {
        let give_up = Instant::now() + READY_TIMEOUT;
        let log = log_of(self.folder.path());
        loop {
            let said = fs::read_to_string(&log)?;
            if let Some(address) = said.lines().rev().find_map(ready_address) {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(BenchError::Start(format!(
                    "{status}\n{}",
                    last_lines(&said)
                )));
            }
            if Instant::now() > give_up {
                let words = format!("not ready within {READY_TIMEOUT:?}\n{}", last_lines(&said));
                return Err(BenchError::Start(words));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Recipe {
    /// Starts the hub with a new log, which replaces the one before.
    fn spawn(&self, folder: &Path, address: SocketAddr) -> io::Result<Child> {
        let mut command = process::on_cores(&self.program, self.cores);
        let data = folder.join("data");
        command.args(["serve", "--dev", "--set"]);
        command.arg(format!("data_dir={}", data.display()));
        let listen = [
            format!("server.listen={address}"),
            "admin.listen=127.0.0.1:0".to_owned(),
            "log.format=json".to_owned(),
        ];
        for setting in listen.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        // The readiness event has the address, so it is logged at any level.
        let level = level_of(&self.settings);
        command.arg("--set");
        command.arg(format!("log.level={level},holdfast::telemetry=info"));
        // Variables for another hub on this machine do not concern this one.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(key);
            }
        }
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log_of(folder))?)
            .spawn()
    }
}

/// Returns those of [`FROM_ONE_ADDRESS`] that the program knows: an older build refuses a key that it does not have.
fn from_one_address(program: &Path) -> io::Result<Vec<String>> {
    let shown = Command::new(program)
        .args(["config", "show"])
        .env_clear()
        .output()?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let known = FROM_ONE_ADDRESS.into_iter().filter(move |(_, key, _)| {
        let start = format!("{key} = ");
        shown.lines().any(|line| line.starts_with(&start))
    });
    let settings = known.map(|(section, key, value)| format!("{section}.{key}={value}"));
    Ok(settings.collect())
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Returns the log level in the settings.
fn level_of(settings: &[String]) -> &str {
    let mut levels = settings
        .iter()
        .filter_map(|setting| setting.strip_prefix("log.level="));
    levels.next_back().unwrap_or("info")
}

/// Returns the address in the readiness event.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["event"] == "ready").then(|| event["server"].as_str()?.parse().ok())?
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_TOLD)..].join("\n")
}

fn check_files(clients: u32) -> Result<(), BenchError> {
    match lacking_files(clients) {
        Some((needed, limit)) => Err(BenchError::FileLimit { needed, limit }),
        None => Ok(()),
    }
}

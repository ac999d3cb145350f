//! A PostgreSQL of one test's own, to stop, kill and freeze.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::daemon::free_address;
use super::program::{program, run};
use super::{STARTS_MAX, eventually};

/// A server, running or not. It goes with its data when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    address: SocketAddr,
    settings: Vec<String>,
    process: Option<Child>,
}

/// Processes that do nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct Frozen(Vec<u32>);

impl Server {
    /// Makes an empty server and starts it.
    pub(crate) async fn start() -> Server {
        Server::start_with(&[]).await
    }

    /// The same, with settings of its own, such as `max_connections=20`.
    pub(crate) async fn start_with(settings: &[&str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server {
            programs: programs(),
            address: free_address(),
            settings: settings.iter().map(|one| (*one).to_owned()).collect(),
            process: None,
            folder,
        };
        // PostgreSQL refuses to run as root, so root lends it the packaged user.
        if is_root() {
            run(program("chown").arg("postgres:").arg(server.folder.path()));
        }
        let data = server.data();
        let options = ["--no-sync", "--auth=trust", "-U", "postgres", "--locale=C"];
        run(server.program("initdb").args(options).arg("-D").arg(data));
        for _ in 0..STARTS_MAX {
            if server.try_start().await {
                return server;
            }
            server.address = free_address();
        }
        panic!("{STARTS_MAX} starts failed: {}", server.log());
    }

    /// What a test connects with; it names the database `postgres`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// Stops it as `pg_ctl stop -m` does: `smart`, `fast` or `immediate`.
    pub(crate) fn stop(&mut self, mode: &str) {
        let data = self.data();
        let mut control = self.program("pg_ctl");
        run(control.args(["stop", "-s", "-m", mode, "-D"]).arg(data));
        self.reap();
    }

    /// `kill -9` for the server and all its processes at once, as the kernel does when memory is short.
    pub(crate) fn kill(&mut self) {
        signal("KILL", &self.processes());
        self.reap();
    }

    /// Starts it again on the same data and the same address, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        // What was killed may keep the shared memory for a moment.
        for _ in 0..STARTS_MAX {
            if self.try_start().await {
                return;
            }
        }
        panic!("{STARTS_MAX} starts failed: {}", self.log());
    }

    /// Stops all its processes where they are (SIGSTOP): lines stay open, and nobody answers.
    pub(crate) fn freeze(&self) -> Frozen {
        Frozen::stop(self.processes())
    }

    /// Carries out a statement as the server's superuser.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        connection.execute(sql).await.unwrap();
    }

    async fn try_start(&mut self) -> bool {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.data());
        for setting in [
            format!("port={}", self.address.port()),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.path().display()),
            // A small one starts faster, and a test's data is small.
            "shared_buffers=16MB".to_owned(),
        ] {
            postgres.arg("-c").arg(setting);
        }
        for setting in &self.settings {
            postgres.arg("-c").arg(setting);
        }
        let output = log.try_clone().unwrap();
        postgres.stdout(output).stderr(log);
        self.process = Some(postgres.spawn().unwrap());
        eventually("PostgreSQL answers or ends", async || {
            let process = self.process.as_mut().expect("just started");
            if process.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            match PgConnection::connect(&self.url()).await {
                Ok(_) => Ok(true),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = as_postgres(&path);
        command.current_dir(self.folder.path());
        command
    }

    /// The server's process first, then those that it has started.
    fn processes(&self) -> Vec<u32> {
        let server = self.process.as_ref().expect("the server runs").id();
        let mut processes = vec![server];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name in brackets: the state, then the parent.
            let parent = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.split(' ').nth(1));
            if parent == Some(&server.to_string()) {
                processes.push(process);
            }
        }
        processes
    }

    fn reap(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

impl Frozen {
    /// Stops processes as they are.
    pub(crate) fn stop(processes: Vec<u32>) -> Frozen {
        signal("STOP", &processes);
        Frozen(processes)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

/// A program that refuses to run as root: root lends it the packaged user.
pub(super) fn as_postgres(path: &Path) -> Command {
    if !is_root() {
        return program(path);
    }
    let mut command = program("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(path);
    command
}

/// Where the newest installed server's programs are.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let newest = versions
        .filter_map(|version| version.ok()?.file_name().to_string_lossy().parse().ok())
        .max();
    let newest: u32 = newest.expect("PostgreSQL has a version");
    Path::new("/usr/lib/postgresql")
        .join(newest.to_string())
        .join("bin")
}

/// Whether the test may do what only root may.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn signal(name: &str, processes: &[u32]) {
    let processes: Vec<String> = processes.iter().map(u32::to_string).collect();
    // One that has ended by itself meanwhile needs no signal.
    let _ = program("sh")
        .args(["-c", &format!("kill -{name} {}", processes.join(" "))])
        .status();
}

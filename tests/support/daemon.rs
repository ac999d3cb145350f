//! The real binary as a child process, with a data folder and a database of its own.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::clock::WallClock;
use super::database::Store;
use super::http::asked_again;
use super::metrics::Metrics;
use super::plan::Plan;
use super::program::program;
use super::{Answer, Database, Proxy, Request, STARTS_MAX, eventually};

/// The exit code for a port that is taken.
const EXIT_PORT_TAKEN: i32 = 69;

/// The game server's key.
pub(crate) const API_KEY: &str = "a-key-of-32-random-characters-00";

/// How much of its log a failing test shows.
const LOG_LINES_SHOWN: usize = 200;

/// A daemon, running or killed. It goes with its data when it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Option<Child>,
    address: SocketAddr,
    admin: SocketAddr,
    settings: Vec<(String, String)>,
    data_dir: PathBuf,
    log: PathBuf,
    database_line: Option<Proxy>,
    is_respawned: bool,
    wrapper: &'static [&'static str],
    trusted: Option<PathBuf>,
    clock: Option<WallClock>,
    /// Dropped after the process has ended, and before the folder.
    store: Store,
    folder: TempDir,
}

/// How many actors of a kind are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actors {
    pub(crate) rooms: u64,
    pub(crate) sessions: u64,
    pub(crate) connections: u64,
}

impl Daemon {
    pub(crate) fn on(database: Database) -> Plan {
        Plan::on(database)
    }

    /// Starts it and waits until it is ready.
    pub(super) async fn start(plan: Plan) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = plan.data_dir.unwrap_or(folder.path().join("data"));
        let store = Store::make(plan.database, &data_dir, plan.server).await;
        let database_line = match plan.is_behind_proxy {
            true => Some(Proxy::to(store.server()).await),
            false => None,
        };
        let mut daemon = Daemon {
            child: None,
            address: free_address(),
            admin: free_address(),
            settings: plan.settings,
            data_dir,
            log: folder.path().join("log"),
            database_line,
            is_respawned: plan.is_respawned,
            wrapper: plan.wrapper,
            trusted: plan.trusted,
            clock: plan.has_clock.then(|| WallClock::make(folder.path())),
            store,
            folder,
        };
        for _ in 0..STARTS_MAX {
            if daemon.run().await {
                return daemon;
            }
            daemon.address = free_address();
            daemon.admin = free_address();
        }
        panic!("{STARTS_MAX} starts ended for want of a port, or of the database");
    }

    /// The public listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The operators' listener.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The id of the process.
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// What it has written to its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The line to the database, of a daemon started with [`Plan::behind_proxy`].
    pub(crate) fn database_line(&self) -> &Proxy {
        self.database_line.as_ref().expect("it has a line")
    }

    /// The clock of a daemon started with [`Plan::with_wall_clock`].
    pub(crate) fn wall_clock(&self) -> &WallClock {
        self.clock.as_ref().expect("it has a clock")
    }

    /// The key of the game's own server, of a daemon started with [`Plan::with_api_key`].
    pub(crate) fn api_key(&self) -> &'static str {
        API_KEY
    }

    /// A request by the game's own server, of a daemon started with [`Plan::with_api_key`].
    pub(crate) fn post_as_game(&self, path: &str, body: Value) -> Request {
        self.post(path, body).header("x-api-key", API_KEY)
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        Request::new(self.address, "GET", path)
    }

    pub(crate) fn delete(&self, path: &str) -> Request {
        Request::new(self.address, "DELETE", path)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Request {
        Request::new(self.address, "POST", path).json(&body)
    }

    /// ROOM of `GET /v1/rooms/{code}`.
    pub(crate) async fn room(&self, code: &str) -> Value {
        let path = format!("/v1/rooms/{code}");
        let answer = asked_again(async || self.get(&path).send().await).await;
        answer.expect(200)["room"].take()
    }

    /// The private listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The admin token: the configured one, else the one that the daemon made itself.
    pub(crate) fn admin_token(&self) -> String {
        let mut settings = self.settings.iter().rev();
        if let Some((_, token)) = settings.find(|(key, _)| key == "admin.token") {
            return token.clone();
        }
        let text = fs::read_to_string(self.data_dir.join("admin.token")).unwrap();
        text.trim().to_owned()
    }

    /// A request to the admin listener.
    pub(crate) fn get_as_operator(&self, path: &str) -> Request {
        Request::new(self.admin, "GET", path).by(&self.admin_token())
    }

    /// What the admin listener says of the daemon's metrics.
    pub(crate) async fn metrics(&self) -> Metrics {
        let answer = self.get_as_operator("/metrics").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Metrics(answer.text)
    }

    /// Asks the admin listener how many actors there are.
    pub(crate) async fn actors(&self) -> Actors {
        let metrics = self.metrics().await;
        let count = |kind: &str| {
            let value = metrics.value(&format!("holdfast_actors{{kind=\"{kind}\"}}"));
            format!("{value}").parse().expect("a whole number")
        };
        Actors {
            rooms: count("room"),
            sessions: count("session"),
            connections: count("connection"),
        }
    }

    /// One metric, by its name and labels as the admin listener shows them; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let answer = Request::new(self.admin, "GET", "/metrics").send().await;
        let lines = answer.text.lines();
        let value = lines
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .next();
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Has a part of the daemon panic.
    pub(crate) async fn has_a_panic_in(&self, part: &Value) {
        let answer = self.tries_a_panic_in(part).await;
        assert_eq!(answer.unwrap().status, 202, "no panic in {part}");
    }

    /// The same, in a daemon that may be going down.
    pub(crate) async fn tries_a_panic_in(&self, part: &Value) -> Result<Answer, String> {
        let request = Request::new(self.admin, "POST", "/faults/panic");
        let request = request.by(&self.admin_token());
        request.json(part).try_send().await
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the daemon runs");
        eventually("the daemon ends", async || {
            let status = child.try_wait().unwrap();
            status.ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    /// The memory that the process has at this moment, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let id = self.child.as_ref().expect("the daemon runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.expect("Linux tells it").trim().trim_end_matches(" kB");
        size.parse().unwrap()
    }

    /// The number of its process, which a daemon that was started again does not have.
    pub(crate) fn live_process(&mut self) -> Option<u32> {
        let child = self.child.as_mut()?;
        match child.try_wait().unwrap() {
            Some(_) => None,
            None => Some(child.id()),
        }
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Changes a setting for the next start.
    pub(crate) fn reconfigure(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// The folder of everything that it keeps on this machine.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts it again with the same data on the same ports and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(self.run().await, "the port is not free again");
    }

    /// Starts it again and does not wait until it is ready.
    pub(crate) fn begins_to_start(&mut self) {
        self.kill();
        self.child = Some(self.spawn(self.address, self.admin));
    }

    /// Waits until a daemon that has begun to start is ready.
    pub(crate) async fn started(&mut self) {
        assert!(self.gets_ready().await, "the port is not free again");
    }

    /// Starts a second daemon on the same data, which is expected to give up; returns its exit code.
    pub(crate) async fn starts_a_second(&self) -> Option<i32> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut second = self.spawn(any, any);
        let ended = eventually("the second daemon gives up", async || {
            let status = second.try_wait().unwrap();
            status.ok_or_else(|| "still running".to_owned())
        });
        ended.await.code()
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.begins_to_stop();
        self.stopped().await
    }

    /// Asks it to stop (SIGTERM).
    pub(crate) fn begins_to_stop(&self) {
        self.signals("TERM");
    }

    /// Sends it a signal.
    pub(crate) fn signals(&self, name: &str) {
        let child = self.child.as_ref().expect("the daemon runs");
        let told = program("sh")
            .args(["-c", &format!("kill -{name} {}", child.id())])
            .status()
            .unwrap();
        assert!(told.success());
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        eventually("the daemon stops", async || {
            let status = child.try_wait().unwrap();
            status.ok_or_else(|| "still running".to_owned())
        })
        .await
    }

    /// Starts the process and waits until it is ready. False if one of its ports was taken.
    async fn run(&mut self) -> bool {
        self.child = Some(self.spawn(self.address, self.admin));
        self.gets_ready().await
    }

    async fn gets_ready(&mut self) -> bool {
        let ready = eventually("the daemon is ready", async || {
            let child = self.child.as_mut().expect("just started");
            if let Some(status) = child.try_wait().unwrap() {
                return Ok(Err(status));
            }
            let request = Request::new(self.address, "GET", "/readyz");
            match request.try_send().await {
                Ok(answer) if answer.status == 200 => Ok(Ok(())),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error),
            }
        })
        .await;
        match ready {
            Ok(()) => true,
            Err(status) if status.code() == Some(EXIT_PORT_TAKEN) => false,
            Err(status) => panic!("the daemon did not start: {status}"),
        }
    }

    fn spawn(&self, address: SocketAddr, admin: SocketAddr) -> Child {
        let binary = env!("CARGO_BIN_EXE_holdfast");
        let mut words = self.wrapper.iter().copied().chain([binary]);
        let mut command = program(words.next().expect("the binary at least"));
        command.args(words).args(["serve", "--dev"]);
        command.args(self.is_respawned.then_some("--respawn"));
        // Few connections each, as many daemons share one PostgreSQL.
        for (key, value) in [
            ("data_dir", self.data_dir.to_str().expect("a plain path")),
            ("server.listen", &address.to_string()),
            ("admin.listen", &admin.to_string()),
            ("database.connections_min", "2"),
            ("database.connections_max", "10"),
            // All clients here come from one address, and some ask for rooms that do not exist.
            ("client.wrong_codes_per_minute", "100000"),
            ("auth.newcomers_per_minute", "0"),
            ("server.connections_per_address_max", "0"),
            ("server.connects_per_second", "0"),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(key);
            }
        }
        if let Some(url) = self.store.url(self.database_line.as_ref()) {
            command.env("HOLDFAST_DATABASE__URL", url);
        }
        WallClock::put_into(self.clock.as_ref(), &mut command);
        if let Some(certificates) = &self.trusted {
            command.env("SSL_CERT_FILE", certificates);
        }
        let log = open_log(&self.log);
        command
            .current_dir(self.folder.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
        eprintln!(
            "the daemon's log, last {LOG_LINES_SHOWN} lines:\n{}",
            lines[shown..].join("\n")
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            self.show_log();
        }
    }
}

fn open_log(path: &PathBuf) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// An address that nobody listens on at this moment.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

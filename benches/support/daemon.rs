//! The real daemon as a child process, on SQLite unless a setting names another database; and plain HTTP to it.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Limit on the time to readiness: a daemon that takes longer does not start at all.
const READY_TIMEOUT: Duration = Duration::from_secs(300);

/// Time between two checks for readiness; the measured time is at most this much too long.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Lets the daemon choose any free port, which it logs.
const ANY_PORT: &str = "127.0.0.1:0";

/// A running daemon; killed with SIGKILL on drop.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// The time from exec to the first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon on `<folder>/data` and waits until it is ready.
    pub(crate) async fn start(folder: &Path, settings: &[(&str, &str)]) -> Daemon {
        let log = folder.join("log");
        let output = File::create(&log).expect("the folder is ours");
        let data = folder.join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["serve", "--dev"]);
        for (key, value) in [
            ("data_dir", data.to_str().expect("a plain path")),
            ("server.listen", ANY_PORT),
            ("admin.listen", ANY_PORT),
            ("log.format", "json"),
            // All players come from one address.
            ("auth.newcomers_per_minute", "0"),
            ("client.wrong_codes_per_minute", "100000"),
            // All clients come from one address.
            ("server.connections_per_address_max", "0"),
            ("server.connects_per_second", "0"),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // The level that the caller wants, and the readiness event in any case.
        let mut levels = settings.iter().filter(|(key, _)| *key == "log.level");
        let level = levels.next_back().map_or("info", |(_, level)| level);
        let level = format!("log.level={level},holdfast::telemetry=info");
        command.arg("--set").arg(level);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(key);
            }
        }
        let started = Instant::now();
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("cargo has built the daemon");
        let mut daemon = Daemon {
            child,
            address: ([0, 0, 0, 0], 0).into(),
            ready_after: Duration::ZERO,
            log,
        };
        daemon.address = daemon.ready(started + READY_TIMEOUT).await;
        let answer = daemon.ask("GET", "/readyz", "").await;
        assert!(matches!(answer, Ok((200, _))), "{answer:?}");
        daemon.ready_after = started.elapsed();
        daemon
    }

    /// Returns everything that the daemon has logged: JSON lines.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the readiness event. Returns the listen address in it.
    async fn ready(&mut self, give_up: Instant) -> SocketAddr {
        loop {
            let log = self.log();
            if let Some(address) = log.lines().rev().find_map(ready_address) {
                return address;
            }
            let ended = self.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{log}");
            assert!(
                Instant::now() < give_up,
                "not ready within {READY_TIMEOUT:?}:\n{log}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.unwrap_or(0), body.to_owned()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have exited by itself; the caller has noticed that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address in the readiness event.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["event"] == "ready").then(|| event["server"].as_str()?.parse().ok())?
}

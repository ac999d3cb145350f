//! The real daemon as a child process on SQLite, and plain HTTP to it.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A daemon that takes longer to be ready than this does not start at all.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Between two tries to reach a port that is not bound yet; it blurs the time to readiness by as much.
const TRY_EVERY: Duration = Duration::from_millis(1);

/// A running daemon; killed with SIGKILL when it is dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// From exec to the first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
    log: PathBuf,
}

impl Daemon {
    /// Starts it on `<folder>/data` and waits until it is ready.
    pub(crate) async fn start(folder: &Path, settings: &[(&str, &str)]) -> Daemon {
        let address = free_address();
        let log = folder.join("log");
        let output = File::create(&log).expect("the folder is ours");
        let data = folder.join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["serve", "--dev"]);
        for (key, value) in [
            ("data_dir", data.to_str().expect("a plain path")),
            ("server.listen", &address.to_string()),
            ("admin.listen", &free_address().to_string()),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
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
            address,
            ready_after: Duration::ZERO,
            log,
        };
        while !daemon.is_ready().await {
            assert!(
                started.elapsed() < READY_WITHIN,
                "not ready within {READY_WITHIN:?}:\n{}",
                daemon.log()
            );
            tokio::time::sleep(TRY_EVERY).await;
        }
        daemon.ready_after = started.elapsed();
        daemon
    }

    /// Everything it has logged: JSON lines.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its port answers nothing before it is ready, so one question is enough once it is bound.
    async fn is_ready(&mut self) -> bool {
        let ended = self.child.try_wait().expect("our own child");
        assert!(
            ended.is_none(),
            "the daemon ended: {ended:?}\n{}",
            self.log()
        );
        matches!(self.ask("GET", "/readyz", "").await, Ok((200, _)))
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
        // It may have ended by itself, which the caller has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

//! The parent process of a trial hub, which restarts it when it was killed (`serve --dev --respawn`).
//!
//! - Owns: the hub's process, which stops with it. On a stop signal the parent closes the hub's standard input, and
//!   the hub stops as planned.
//! - On failure of the parent: that input ends too.
//!
//! See `daemon::Parent` for the hub's side.

use std::env;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::HAS_PARENT;
use crate::daemon::Signals;
use crate::supervisor::RestartBudget;

/// Requests for a kill that may wait: one is enough for a process.
const KILLS_WAITING_MAX: usize = 1;

/// A running hub.
struct Hub {
    child: Child,
    /// The hub's requests to be killed; closed when the hub has ended.
    kills: mpsc::Receiver<()>,
}

/// How a hub ended.
struct End {
    status: ExitStatus,
    was_asked: bool,
}

/// Runs this same command as a child, until it ends by itself or a signal stops it. Returns the child's exit code. A
/// child that was killed by a signal is started again, within the usual restart budget.
pub async fn respawn() -> io::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut budget = RestartBudget::default();
    loop {
        let end = Hub::start()?.watch(&mut signals).await?;
        let Some(signal) = end.status.signal() else {
            let code = end.status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
        };
        if end.was_asked {
            return Ok(ExitCode::FAILURE);
        }
        let wait = match budget.spend(Instant::now()) {
            Ok(wait) => wait,
            Err(spent) => {
                error!(signal, "the hub {spent}; it is not started again");
                return Ok(ExitCode::FAILURE);
            }
        };
        warn!(
            event = "respawn",
            signal, "the hub was killed; it is started again"
        );
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

impl Hub {
    fn start() -> io::Result<Hub> {
        let mut child = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .arg(format!("--{HAS_PARENT}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl+C reaches the parent, which passes it on: directly to the child, it would be a second signal.
            .process_group(0)
            .spawn()?;
        let output = child.stdout.take().expect("its output is piped");
        let (asking, kills) = mpsc::channel(KILLS_WAITING_MAX);
        thread::spawn(move || {
            for _line in BufReader::new(output).lines().map_while(Result::ok) {
                // One waiting request is enough.
                let _ = asking.try_send(());
            }
        });
        Ok(Hub { child, kills })
    }

    /// Waits for the hub to end, and passes stop signals on.
    async fn watch(mut self, signals: &mut Signals) -> io::Result<End> {
        let mut was_asked = false;
        loop {
            tokio::select! {
                kill = self.kills.recv() => match kill {
                    Some(()) => self.child.kill()?,
                    // Its output has ended, so it is gone or about to be.
                    None => {
                        let status = self.child.wait()?;
                        return Ok(End { status, was_asked });
                    }
                },
                () = first_or_second(signals, was_asked) => {
                    if was_asked {
                        self.child.kill()?;
                    }
                    was_asked = true;
                    drop(self.child.stdin.take());
                }
            }
        }
    }
}

/// Waits for the signal to stop; after it, for the signal to stop at once.
async fn first_or_second(signals: &mut Signals, was_asked: bool) {
    if was_asked {
        signals.urged().await;
    } else {
        signals.next().await;
    }
}

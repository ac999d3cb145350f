//! The parent process, which restarts this one when it is killed: `serve --dev --respawn`.
//!
//! Two pipes connect them. This process's standard input ends when the parent stops or is gone. The hub then stops as
//! planned, and is never left behind. A line on its standard output asks for `kill -9`, which only another process
//! can send.

use std::io::{self, Write};
use std::thread;

use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The parent, as the hub sees it.
#[derive(Debug)]
pub struct Parent {
    goodbye: CancellationToken,
}

impl Parent {
    /// Starts to watch for the parent's end. Call it once, in a process that was started for this.
    pub fn listen() -> Parent {
        let goodbye = CancellationToken::new();
        let heard = goodbye.clone();
        // A read of standard input cannot be cancelled: a thread of its own never delays the end of a runtime.
        thread::spawn(move || {
            // An input that fails has ended as well.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            heard.cancel();
        });
        Parent { goodbye }
    }

    /// Waits until the parent asks for a stop, or is gone.
    pub(super) async fn goodbye(&self) {
        self.goodbye.cancelled().await;
    }

    /// Asks the parent to kill this process.
    pub(super) fn ask_for_kill() {
        let mut line = io::stdout().lock();
        if let Err(error) = writeln!(line, "kill").and_then(|()| line.flush()) {
            warn!(%error, "the parent that should kill this process is gone");
        }
    }
}

//! The process that starts this one again when it is killed: `serve --dev --respawn`.
//!
//! Two pipes join them. This process's standard input ends when its parent is told to stop, or is gone: the hub
//! stops as planned then, and never stays behind alone. A line on its standard output asks for `kill -9`, which only
//! another process can do.

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
    /// Begins to listen for its goodbye. To be called once, by a process that was started for it.
    pub fn listen() -> Parent {
        let goodbye = CancellationToken::new();
        let heard = goodbye.clone();
        // A read of standard input cannot be given up: a thread of its own never delays the end of a runtime.
        thread::spawn(move || {
            // An input that fails has ended as well.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            heard.cancel();
        });
        Parent { goodbye }
    }

    /// Waits until it says goodbye, or is gone.
    pub(super) async fn goodbye(&self) {
        self.goodbye.cancelled().await;
    }

    /// Has it kill this process.
    pub(super) fn ask_for_kill() {
        let mut line = io::stdout().lock();
        if let Err(error) = writeln!(line, "kill").and_then(|()| line.flush()) {
            warn!(%error, "nobody is there to kill this process");
        }
    }
}

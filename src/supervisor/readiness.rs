//! The phase of the daemon, which decides if it accepts players.

use std::sync::Arc;

use tokio::sync::watch;

/// The phase of the daemon between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the state of the last run.
    Starting,
    Ready,
    /// Draining its players; it will not be ready again.
    Stopping,
}

/// One value for all its users. Clones have the same phase.
#[derive(Debug, Clone)]
pub struct Readiness {
    phase: Arc<watch::Sender<Phase>>,
}

impl Readiness {
    pub fn starting() -> Readiness {
        Readiness {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
        }
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Becomes ready, unless the daemon is already stopping.
    pub fn set_ready(&self) {
        self.phase.send_if_modified(|phase| {
            let was_starting = *phase == Phase::Starting;
            if was_starting {
                *phase = Phase::Ready;
            }
            was_starting
        });
    }

    pub fn set_stopping(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Returns a receiver of each change of the phase.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_stops_is_never_ready_again() {
        let readiness = Readiness::starting();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.set_ready();
        assert!(readiness.is_ready());
        readiness.clone().set_stopping();
        readiness.set_ready();
        assert_eq!(readiness.phase(), Phase::Stopping);
    }
}

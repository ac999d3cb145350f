//! Back-off between attempts to reach the database.

use std::time::Duration;

use crate::id::random_bytes;

/// The first wait: a failed-over or restarted PostgreSQL is back within a few of these.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait, so that a database that is back is noticed within a second.
const LONGEST: Duration = Duration::from_secs(1);

/// Waits that double from 50 ms to 1 s, plus a jitter of up to a quarter so that daemons do not retry in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { next: FIRST }
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        let [jitter] = random_bytes::<1>();
        wait + wait * u32::from(jitter) / (4 * 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..8).map(|_| backoff.next_wait()).collect();

        assert!(waits[0] >= FIRST && waits[0] <= FIRST * 5 / 4, "{waits:?}");
        assert!(
            waits[7] >= LONGEST && waits[7] <= LONGEST * 5 / 4,
            "{waits:?}"
        );
    }
}

//! Drain: at a stop, closes all sockets at a limited rate, with a code after which clients reconnect.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use super::Connections;
use crate::id::random_bytes;
use crate::wire::Close;

/// Batches of closes per second: small enough that the successor sees an even stream of connects.
const BATCHES_PER_SECOND: u32 = 20;

/// The time that clients have to read their queued frames after the last close.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two checks whether all sockets are closed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Connections {
    /// Closes every socket after its queued frames, `per_second` of them a second and in no order that clients share.
    /// After `within` the rest are closed at once, and later sockets as they arrive. A client that does not read is
    /// cut off.
    pub async fn say_goodbye(&self, per_second: u32, within: Duration) {
        self.context.is_stopping.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + within;
        let outbounds = self.context.directory.all();
        let batch = per_second.div_ceil(BATCHES_PER_SECOND).max(1);
        let pause = Duration::from_secs(1).mul_f64(f64::from(batch) / f64::from(per_second.max(1)));
        let mut left = outbounds.len();
        // A batch is a share of a number that fits in `usize`, so it fits as well.
        for batch in outbounds.chunks(usize::try_from(batch).unwrap_or(usize::MAX)) {
            for outbound in batch {
                outbound.close(Close::Shutdown);
            }
            left -= batch.len();
            if left > 0 {
                let next = Instant::now() + pause.mul_f64(jitter());
                sleep_until(next.min(deadline).into()).await;
            }
        }
        let cut_at = Instant::now() + READ_TIMEOUT;
        while !self.context.directory.is_empty() && Instant::now() < cut_at {
            sleep(POLL_INTERVAL).await;
        }
        for outbound in self.context.directory.all() {
            outbound.cut(Close::Shutdown);
        }
    }
}

/// Returns a factor from 0.5 to 1.5, with a mean of 1 that keeps the requested rate.
fn jitter() -> f64 {
    let [random] = random_bytes::<1>();
    0.5 + f64::from(random) / f64::from(u8::MAX)
}

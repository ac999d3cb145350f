//! How clients are told to come back later, when the hub stops.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use super::Connections;
use crate::id::random_bytes;
use crate::wire::Close;

/// Pauses in a second of farewells: short enough that the successor sees a stream and no waves.
const BATCHES_PER_SECOND: u32 = 20;

/// How long clients have to read what is queued for them, once all were told.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether all have gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Connections {
    /// Closes every socket after what is queued for it, `per_second` of them a second and in no order
    /// that clients could share. After `within` the rest are told at once. Sockets that come later are
    /// closed as they come; who does not read is cut off.
    pub async fn say_goodbye(&self, per_second: u32, within: Duration) {
        self.context.is_stopping.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + within;
        let outbounds = self.context.directory.all();
        let batch = per_second.div_ceil(BATCHES_PER_SECOND).max(1);
        let pause = Duration::from_secs(1).mul_f64(f64::from(batch) / f64::from(per_second.max(1)));
        let mut left = outbounds.len();
        // A batch is a share of a number that fits, so it fits as well.
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

/// Between a half and one and a half, so that the mean is the pace that was asked for.
fn jitter() -> f64 {
    let [random] = random_bytes::<1>();
    0.5 + f64::from(random) / f64::from(u8::MAX)
}

//! Progress of work that may take long, for a caller that would give it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};

/// A signal to a watchdog that a step is done. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    next: Notify,
    is_unlimited: AtomicBool,
}

impl Progress {
    /// Reports a step, such as a statement that was answered.
    pub(crate) fn step(&self) {
        self.0.next.notify_one();
    }

    /// Reports a step after which the rest of the work has no limit.
    pub(crate) fn lift_limit(&self) {
        self.0.is_unlimited.store(true, Ordering::Release);
        self.step();
    }

    /// Waits for the task while each step comes within `limit`. Returns None if a step does not.
    pub(crate) async fn watch<T>(
        &self,
        task: &mut JoinHandle<T>,
        limit: Duration,
    ) -> Option<Result<T, JoinError>> {
        loop {
            tokio::select! {
                biased;
                result = &mut *task => return Some(result),
                () = self.0.next.notified() => {
                    if self.0.is_unlimited.load(Ordering::Acquire) {
                        return Some(task.await);
                    }
                }
                () = tokio::time::sleep(limit) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn work_may_take_as_long_as_its_steps_come_in_time() {
        let progress = Progress::default();
        let steps = progress.clone();
        let mut task = tokio::spawn(async move {
            for _ in 0..20 {
                sleep(LIMIT / 2).await;
                steps.step();
            }
        });

        assert!(matches!(
            progress.watch(&mut task, LIMIT).await,
            Some(Ok(()))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn work_whose_limit_was_lifted_may_take_any_time_and_not_before() {
        let (lifted, limited) = (Progress::default(), Progress::default());
        let progress = lifted.clone();
        let mut task = tokio::spawn(async move {
            sleep(LIMIT / 2).await;
            progress.lift_limit();
            sleep(LIMIT * 9).await;
        });

        let done = lifted.watch(&mut task, LIMIT).await;
        assert!(matches!(done, Some(Ok(()))));
        let mut late = tokio::spawn(sleep(LIMIT * 2));
        assert!(limited.watch(&mut late, LIMIT).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_stands_still_is_given_up() {
        let progress = Progress::default();
        progress.step();
        let mut task = tokio::spawn(pending::<()>());

        assert!(progress.watch(&mut task, LIMIT).await.is_none());
    }
}

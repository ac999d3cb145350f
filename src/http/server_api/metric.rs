//! Metrics of the server API.

use std::sync::Arc;

use metrics::{Counter, counter};

use super::Method;
use super::answer::Answer;

/// The outcome of a call: done, refused because of the call, or failed because of the hub.
const OUTCOMES: [&str; 3] = ["done", "refused", "failed"];

/// The only error that is not caused by the call.
const INTERNAL: u32 = 100;

/// Counters of calls, looked up once at the start.
#[derive(Debug, Clone)]
pub(super) struct CallCounts(Arc<[[Counter; OUTCOMES.len()]]>);

impl CallCounts {
    /// Creates the counters, for which the recorder must be installed.
    pub(super) fn new() -> CallCounts {
        let of_method = |method: &Method| {
            let method = method.name();
            OUTCOMES.map(|outcome| {
                counter!("holdfast_server_api_calls_total", "method" => method, "outcome" => outcome)
            })
        };
        CallCounts(Method::ALL.iter().map(of_method).collect())
    }

    pub(super) fn count(&self, method: Method, answer: &Answer) {
        let outcome = match answer {
            Ok(_) => 0,
            Err(failure) if failure.code == INTERNAL => 2,
            Err(_) => 1,
        };
        self.0[method as usize][outcome].increment(1);
    }
}

//! How the calls of games' servers are counted.

use std::sync::Arc;

use metrics::{Counter, counter};

use super::Method;
use super::answer::Answer;

/// What becomes of a call: done, refused for what it asks, or not carried out for want of something here.
const OUTCOMES: [&str; 3] = ["done", "refused", "failed"];

/// The error that is no fault of the call.
const INTERNAL: u32 = 100;

/// Counters of calls, looked up once at the start.
#[derive(Debug, Clone)]
pub(super) struct CallCounts(Arc<[[Counter; OUTCOMES.len()]]>);

impl CallCounts {
    /// To be made after the recorder is installed.
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

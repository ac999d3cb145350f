//! Requests to actors, with a limit on the wait.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// Limit on the wait for an actor of this process. A durable change is answered within `persistence.deadline` (4 s).
/// A request that waits for one waits a little longer, and is still answered before the client's own limit of 5 s.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(4500);

/// The reason why an actor did not answer. The requested change may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("the actor did not answer in time")]
    Busy,
    #[error("the actor has stopped")]
    Stopped,
}

/// Sends a request and waits for its answer, at most [`ANSWER_TIMEOUT`].
pub async fn ask<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, Unanswered> {
    match actor.call(question, Some(ANSWER_TIMEOUT)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(Unanswered::Busy),
        Ok(CallResult::SenderError) | Err(_) => Err(Unanswered::Stopped),
    }
}

/// Answers a request. A caller that has stopped waiting misses nothing but the answer.
pub fn answer<T>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

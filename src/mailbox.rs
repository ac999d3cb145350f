//! Asking an actor a question, with a limit on how long to wait.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

/// How long a question between actors of this process may take. A durable change is answered within
/// `persistence.deadline` (4 s), so whoever waits for one waits a little longer than that, and still
/// answers before a client's own limit of 5 s.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(4500);

/// Why a question went unanswered. The change it asked for may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("the actor did not answer in time")]
    Busy,
    #[error("the actor has stopped")]
    Stopped,
}

/// Asks and waits, at most [`ANSWER_WITHIN`].
pub async fn ask<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, Unanswered> {
    match actor.call(question, Some(ANSWER_WITHIN)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(Unanswered::Busy),
        Ok(CallResult::SenderError) | Err(_) => Err(Unanswered::Stopped),
    }
}

/// Answers a question. A caller that has stopped waiting loses nothing but the answer.
pub fn answer<T>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

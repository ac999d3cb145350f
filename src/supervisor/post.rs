//! The address of an actor, which stays the same when the actor is restarted.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use ractor::{ActorCell, ActorRef, ActorStatus, Message, RpcReplyPort};

use crate::mailbox::{Unanswered, ask};

/// An actor's address across restarts. Cheap to clone.
pub struct ActorAddress<M>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M: Message> ActorAddress<M> {
    /// Returns an address without an actor.
    pub fn vacant() -> ActorAddress<M> {
        ActorAddress(Arc::new(RwLock::new(None)))
    }

    /// Puts an actor here, in place of the one before.
    pub fn fill(&self, actor: ActorRef<M>) {
        *self.0.write() = Some(actor);
    }

    /// Sends a message that the actor may miss: while it is being restarted, the message is lost.
    pub fn tell(&self, message: M) {
        if let Some(actor) = self.0.read().as_ref() {
            // It has stopped, and its supervisor knows.
            let _ = actor.cast(message);
        }
    }

    /// Returns true if a running actor is here.
    pub fn is_running(&self) -> bool {
        let actor = self.0.read();
        actor
            .as_ref()
            .is_some_and(|actor| actor.get_status() < ActorStatus::Draining)
    }

    /// Returns the actor itself, to supervise others; `None` if there is none.
    pub fn cell(&self) -> Option<ActorCell> {
        self.0.read().as_ref().map(ActorRef::get_cell)
    }

    /// Asks the actor and waits for its answer, within the limit of [`ask`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
    ) -> Result<T, Unanswered> {
        let actor = self.0.read().clone().ok_or(Unanswered::Stopped)?;
        ask(&actor, question).await
    }
}

impl<M> Clone for ActorAddress<M> {
    fn clone(&self) -> ActorAddress<M> {
        ActorAddress(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for ActorAddress<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActorAddress")
    }
}

//! The responses that a room stores with a change, under the idempotency key of the request.

use std::sync::Arc;

use super::message::Claimed;
use crate::persistence::IdempotencyRecord;
use crate::wire::{Joined, SessionReport, SessionView};

/// The response to a claim or a takeover, but for what only the room knows.
#[derive(Debug, Clone)]
pub struct ResponseDraft {
    pub key: Arc<IdempotencyRecord>,
    pub form: ResponseForm,
}

/// The form of a response, with the session that asked.
#[derive(Debug, Clone)]
pub enum ResponseForm {
    /// To a client that entered a room.
    Joined(SessionView),
    /// To a client that opened a session by a seat token.
    Session(SessionView),
}

impl ResponseDraft {
    /// Returns the key with the response, to be written with the change.
    pub(super) fn complete(self, claimed: &Claimed) -> Arc<IdempotencyRecord> {
        match self.form {
            ResponseForm::Joined(session) => self.key.answered(&claimed.joined(session)),
            ResponseForm::Session(session) => self.key.answered(&claimed.report(session)),
        }
    }
}

impl Claimed {
    /// Returns the response to a client that entered a room by this claim.
    pub fn joined(&self, session: SessionView) -> Joined {
        Joined {
            room: self.room.clone(),
            seat: Some(self.seat.view(self.at)),
            session,
            user: self.user.clone(),
        }
    }

    fn report(&self, session: SessionView) -> SessionReport {
        SessionReport {
            session,
            user: self.user.clone(),
            seats: vec![self.seat.view(self.at)],
        }
    }
}

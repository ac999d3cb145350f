//! Responses that may be stored under an idempotency key, and the form in which they are stored.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::view::{RoomView, SeatView, SessionView, UserView};

/// The response to a client that entered a room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    pub room: RoomView,
    /// None for a spectator.
    pub seat: Option<SeatView>,
    pub session: SessionView,
    pub user: UserView,
}

/// A session with its user and its seats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionReport {
    pub session: SessionView,
    pub user: UserView,
    pub seats: Vec<SeatView>,
}

/// A response to a request that may have an idempotency key.
pub trait KeyedResponse: Clone + Serialize + DeserializeOwned {
    /// Sets the user's name to the stored one, which is known only after the commit.
    fn rename_user(&mut self, name: &Arc<str>);

    fn session_mut(&mut self) -> Option<&mut SessionView>;

    fn seats_mut(&mut self) -> &mut [SeatView];
}

/// A stored response, without its tokens.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredForm<R> {
    /// True if the request created the session, so that its response contained a token.
    pub is_session_new: bool,
    pub answer: R,
}

impl<R: KeyedResponse> StoredForm<R> {
    /// Removes the tokens from a response.
    pub fn of(response: &R) -> StoredForm<R> {
        let mut answer = response.clone();
        let token = answer
            .session_mut()
            .and_then(|session| session.token.take());
        for seat in answer.seats_mut() {
            (seat.token, seat.token_expires_at) = (None, None);
        }
        StoredForm {
            is_session_new: token.is_some(),
            answer,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("responses have text for keys")
    }

    /// Parses what [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// If it is the response to another kind of request.
    pub fn parse(json: &str) -> Result<StoredForm<R>, serde_json::Error> {
        serde_json::from_str(json)
    }
}

impl KeyedResponse for Joined {
    fn rename_user(&mut self, name: &Arc<str>) {
        self.user.name = Arc::clone(name);
        self.room.rename(&self.user);
    }

    fn session_mut(&mut self) -> Option<&mut SessionView> {
        Some(&mut self.session)
    }

    fn seats_mut(&mut self) -> &mut [SeatView] {
        self.seat.as_mut_slice()
    }
}

impl KeyedResponse for SessionReport {
    fn rename_user(&mut self, name: &Arc<str>) {
        self.user.name = Arc::clone(name);
    }

    fn session_mut(&mut self) -> Option<&mut SessionView> {
        Some(&mut self.session)
    }

    fn seats_mut(&mut self) -> &mut [SeatView] {
        &mut self.seats
    }
}

/// The response to the game's server about a user's seat: never with a token.
impl KeyedResponse for SeatView {
    fn rename_user(&mut self, _name: &Arc<str>) {}

    fn session_mut(&mut self) -> Option<&mut SessionView> {
        None
    }

    fn seats_mut(&mut self) -> &mut [SeatView] {
        std::slice::from_mut(self)
    }
}

/// The response without content.
impl KeyedResponse for () {
    fn rename_user(&mut self, _name: &Arc<str>) {}

    fn session_mut(&mut self) -> Option<&mut SessionView> {
        None
    }

    fn seats_mut(&mut self) -> &mut [SeatView] {
        &mut []
    }
}

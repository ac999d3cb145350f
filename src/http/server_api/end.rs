//! `session_end`: the game's server ends a session, or all sessions of a user.

use serde::Serialize;
use uuid::Uuid;

use super::ServerApi;
use super::answer::{Answer, answer};
use super::fields::{Fields, must_be};
use crate::id::{SessionId, UserId};
use crate::wire::{Reason, Refusal};

/// The number of sessions that were open until now.
#[derive(Serialize)]
struct Ended {
    ended: usize,
}

impl ServerApi {
    pub(super) async fn session_end(&self, fields: &Fields<'_>) -> Answer {
        let (user, session) = (fields.text("user")?, fields.text("session")?);
        let ended = match (user.as_str(), session.as_str()) {
            ("", "") => return Err(must_be("user", "given as text, or session")),
            ("", session) => {
                let id = Uuid::try_parse(session)
                    .map_err(|_| must_be("session", "the id of a session, a UUID"))?;
                usize::from(self.actions.remove_session(SessionId(id)).await?)
            }
            (user, "") => {
                // No user has an invalid id.
                let nobody =
                    |_| Refusal::new(Reason::UserNotFound, "there is no user with this id");
                let user = UserId::parse(user).map_err(nobody)?;
                self.actions.remove_sessions_of(&user).await?
            }
            (_, _) => return Err(must_be("session", "left out where user is given")),
        };
        answer(&Ended { ended })
    }
}
